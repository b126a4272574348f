-- A takeover updates every row of a page in one transaction, and each row grows to about twice its first size while it learns: so much of
-- a page has to be free that the new versions fit beside the old ones, or they go elsewhere and every index is written as well. Beside
-- the events of a deployment the room is little. Pages that are full already gain it as their rows move.
ALTER TABLE deployments SET (fillfactor = 25);
