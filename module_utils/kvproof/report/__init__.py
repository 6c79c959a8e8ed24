# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the verdicts of a run to its one document, and from that to what is shown and written."""
