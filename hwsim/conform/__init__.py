"""Public suites of other people's tests, run on hwsim: `hwsim conform`. Suite and Case say what a suite is, SUITES which."""
