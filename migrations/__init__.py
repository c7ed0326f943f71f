"""The schema of the database: `versions` holds the migrations, `functions` the texts of the SQL functions."""
