-- A takeover updates every row of a page at once, and each row grows while it learns: more than half of a page has to be free, or the new
-- versions go elsewhere and every index is written as well. Pages that are full already gain room as their rows move.
ALTER TABLE deployments SET (fillfactor = 40);
