"""The ground floor: settings, database, SQL, errors, events and the clock; no product words in here."""
