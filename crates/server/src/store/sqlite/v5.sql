-- The background pass files the windows up to `filing_to` device by device, some in each transaction: those of
-- devices up to `filing_device` are filed already. Nothing is under way where `filing_to` <= `decoded_to`.
ALTER TABLE progress ADD COLUMN filing_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE progress ADD COLUMN filing_device INTEGER NOT NULL DEFAULT -1;
