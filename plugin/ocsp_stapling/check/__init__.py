"""One check: gathers evidence within one deadline, judges it, keeps both, and tells them."""
