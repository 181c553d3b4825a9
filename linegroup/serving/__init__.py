"""The service, without Ray: what a replica does with a picture, and the HTTP interface in front of it."""
