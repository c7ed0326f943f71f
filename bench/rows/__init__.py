"""One module per row of the table: each measures something of the service beside a peer or a floor in the same run."""
