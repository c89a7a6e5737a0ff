-- Whatever became of an event is found when its person is erased.
CREATE INDEX delivery_of_event ON delivery (event_id);
