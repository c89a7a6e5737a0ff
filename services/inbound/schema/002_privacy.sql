-- An erased person: whose their number is from then on.
ALTER TABLE contact ADD COLUMN successor_id text;

-- A text that came under the id of somebody erased and is their successor's.
ALTER TABLE incoming ADD COLUMN moved boolean NOT NULL DEFAULT false;
