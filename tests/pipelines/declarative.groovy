// Copyright: the kvproof authors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What examples/jenkins/Jenkinsfile would do, in the Groovy that Jenkins has: the sections and steps of Declarative
// Pipeline that the file uses, after its documentation. What it does not know is an error. Steps of `sh` are run.
// groovy declarative.groovy JENKINSFILE: prints a line of JSON for each step, and the build's result last.

import groovy.json.JsonOutput

class Section {
    Object invokeMethod(String name, Object words) {
        throw new MissingMethodException(name, getClass(), words as Object[])
    }

    protected void within(Section section, Closure body) {
        body.delegate = section
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body()
    }
}

class Error extends RuntimeException {
    Error(String text) { super(text) }
}

class Agent extends Section {
    void label(String name) {}
}

class Options extends Section {
    void disableConcurrentBuilds() {}
    void timeout(Map how) { assert how.keySet() == ['time', 'unit'] as Set && how.unit == 'HOURS' }
}

class Parameters extends Section {
    Map told
    void string(Map how) {
        assert how.keySet() == ['name', 'defaultValue', 'description'] as Set
        told[how.name] = System.getenv(how.name) ?: how.defaultValue
    }
}

class Triggers extends Section {
    void cron(String when) { assert when.split(' ').size() == 5 }
}

class Environment extends Section {
    Map told
    void setProperty(String name, Object value) { name == 'told' ? (this.@told = value) : (told[name] = value as String) }
}

class Steps extends Section {
    Map told
    void say(String step, Object how) { println JsonOutput.toJson([step: step, how: how]) }
    void script(Closure body) { within(this, body) }
    void error(String text) { throw new Error(text) }
    void junit(Map how) {
        assert how.keySet() == ['testResults', 'allowEmptyResults'] as Set
        say('junit', how)
    }
    void archiveArtifacts(Map how) {
        assert how.keySet() == ['artifacts', 'allowEmptyArchive'] as Set
        say('archiveArtifacts', how)
    }
    Map sshUserPrivateKey(Map how) { [(how.keyFileVariable): how.credentialsId] }
    Map file(Map how) { [(how.variable): how.credentialsId] }
    void withCredentials(List bound, Closure body) {
        say('withCredentials', bound.inject([:]) { all, one -> all + one })
        within(this, body)
    }
    int sh(Map how) {
        assert how.keySet() == ['label', 'script', 'returnStatus'] as Set && how.returnStatus
        def builder = new ProcessBuilder('sh', '-xe', '-c', how.script as String).redirectErrorStream(true)
        builder.environment().putAll(told)
        def started = builder.start()
        def output = started.inputStream.text
        int code = started.waitFor()
        say('sh', [code: code, output: output])
        return code
    }
}

class Stage extends Section {
    Map told
    void steps(Closure body) { within(new Steps(told: told), body) }
}

class Stages extends Section {
    Map told
    void stage(String name, Closure body) { within(new Stage(told: told), body) }
}

class Post extends Section {
    Map told
    void always(Closure body) { within(new Steps(told: told), body) }
}

class Pipeline extends Section {
    Map told = [:]
    List trouble = []
    void agent(Closure body) { within(new Agent(), body) }
    void options(Closure body) { within(new Options(), body) }
    void parameters(Closure body) { within(new Parameters(told: told), body) }
    void triggers(Closure body) { within(new Triggers(), body) }
    void environment(Closure body) { within(new Environment(told: told), body) }
    void stages(Closure body) {
        try {
            within(new Stages(told: told), body)
        } catch (Error failure) {
            trouble << failure.message
        }
    }
    void post(Closure body) { within(new Post(told: told), body) }
}

abstract class Declarative extends Script {
    void pipeline(Closure body) {
        def made = new Pipeline()
        body.delegate = made
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body()
        println JsonOutput.toJson([result: made.trouble ? 'FAILURE' : 'SUCCESS', trouble: made.trouble])
    }
}

def configuration = new org.codehaus.groovy.control.CompilerConfiguration(scriptBaseClass: 'Declarative')
new GroovyShell(this.class.classLoader, new Binding(), configuration).evaluate(new File(args[0]))
