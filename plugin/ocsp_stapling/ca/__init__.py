"""The certificate authorities: who they are and what their status pages say."""
