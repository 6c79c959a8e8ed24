# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnosis of what a user pastes: logs, settings, metrics pages, or an issue's text in which they stand mixed.

Text comes in, a document ``kvproof.diagnosis/1`` goes out; no I/O.  read.py takes facts from the text, the findings of
judge/findings look at them (live.py asks those that compare two nodes), conclude.py weighs what they saw.  Pasted
material has no controls, so it never proves that reuse works; and what it does not prove is not concluded.
"""
