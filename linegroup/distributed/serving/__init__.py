"""The service on Ray Serve: HTTP interface, embedding and grouping as deployments that scale apart."""
