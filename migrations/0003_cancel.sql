-- Wishes to cancel are looked for every second: the index has only those that are not fulfilled yet.
CREATE INDEX deployments_cancelling ON deployments (id)
    WHERE cancel_requested_at IS NOT NULL AND status IN ('RUNNING', 'DEPLOYMENT_READY');
