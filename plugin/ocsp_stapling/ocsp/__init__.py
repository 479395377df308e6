"""The OCSP protocol: certificates, requests, answers, responders, staples. Knows no Apache."""
