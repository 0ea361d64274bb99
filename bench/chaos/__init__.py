"""Messages with @@roles while workers, Ray, the engine and PostgreSQL are killed or stopped at random."""
