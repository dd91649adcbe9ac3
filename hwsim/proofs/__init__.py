"""Overflow: proofs that registers hold every input, witnesses that one does not, and the narrowest that will do.

    overflow.py          hwsim.overflow, and its report: report, stored (on disk, and checked again), picture, seen (on images)
    prove.py             the certificate: live, taps, intervals, found; where extremes do not do: reachable, skips, phases,
                         arranged; float_prove for minifloats; ranges and codes for what a network can send to a layer
    verify.py            the second opinion, which shares no line with prove: claim, walks, states
    witness.py           the input that overflows: site, machine, search, endings, fewest; whether it shows: visible, peaks,
                         harmless, reference
    minimize.py          the narrowest accumulators: minimize_run, minimize_report, minimize_picture
    certificate.py, narrow.py   what all of them speak of: a proof, and a layer with another accumulator
"""
