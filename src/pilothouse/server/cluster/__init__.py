"""What makes a platform a cluster: founding it, letting machines in, certificates, authorities in turn. No HTTP."""
