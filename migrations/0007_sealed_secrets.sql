-- Secrets of connections are sealed by a key that the database does not have. What was stored before is sealed by the first server that
-- starts with a key: the columns in the clear stay until then, and for replicas of the version before.

ALTER TABLE github_connections
    ALTER COLUMN token DROP NOT NULL,
    ADD COLUMN key_id text,
    ADD COLUMN wrapped_key bytea,
    ADD COLUMN token_sealed bytea,
    ADD CONSTRAINT github_connections_one_token CHECK (num_nonnulls(token, token_sealed) = 1),
    ADD CONSTRAINT github_connections_sealed_with_a_key
        CHECK ((key_id IS NULL) = (wrapped_key IS NULL) AND (token_sealed IS NULL OR key_id IS NOT NULL));
COMMENT ON COLUMN github_connections.token IS 'Secret in the clear, from before secrets were sealed; null once it is sealed.';
COMMENT ON COLUMN github_connections.key_id IS 'Id of the server''s key that wraps wrapped_key.';
COMMENT ON COLUMN github_connections.wrapped_key IS 'The row''s own data key, wrapped (AES-256-GCM: nonce, ciphertext, tag).';
COMMENT ON COLUMN github_connections.token_sealed IS 'Secret: access token for the repository, sealed with the data key.';

ALTER TABLE aws_connections
    ADD COLUMN key_id text,
    ADD COLUMN wrapped_key bytea,
    ADD COLUMN secret_access_key_sealed bytea,
    ADD COLUMN session_token_sealed bytea,
    ADD COLUMN external_id_sealed bytea,
    DROP CONSTRAINT aws_connections_keys_or_role,
    ADD CONSTRAINT aws_connections_keys_or_role CHECK (
        (access_key_id IS NOT NULL AND num_nonnulls(secret_access_key, secret_access_key_sealed) = 1 AND role_arn IS NULL
            AND num_nonnulls(external_id, external_id_sealed) = 0)
        OR (role_arn IS NOT NULL AND access_key_id IS NULL
            AND num_nonnulls(secret_access_key, secret_access_key_sealed, session_token, session_token_sealed) = 0)),
    ADD CONSTRAINT aws_connections_sealed_with_a_key
        CHECK ((key_id IS NULL) = (wrapped_key IS NULL)
           AND (num_nonnulls(secret_access_key_sealed, session_token_sealed, external_id_sealed) = 0 OR key_id IS NOT NULL));
COMMENT ON COLUMN aws_connections.secret_access_key IS 'Secret in the clear, from before secrets were sealed; null once it is sealed.';
COMMENT ON COLUMN aws_connections.session_token IS 'Secret in the clear, from before secrets were sealed; null once it is sealed.';
COMMENT ON COLUMN aws_connections.external_id IS 'Secret in the clear, from before secrets were sealed; null once it is sealed.';
COMMENT ON COLUMN aws_connections.key_id IS 'Id of the server''s key that wraps wrapped_key; null when the row has no secret.';
COMMENT ON COLUMN aws_connections.wrapped_key IS 'The row''s own data key, wrapped (AES-256-GCM: nonce, ciphertext, tag).';
COMMENT ON COLUMN aws_connections.secret_access_key_sealed IS 'Secret: secret access key, sealed with the data key.';
COMMENT ON COLUMN aws_connections.session_token_sealed IS 'Secret: session token of temporary keys, sealed with the data key.';
COMMENT ON COLUMN aws_connections.external_id_sealed IS 'Secret: external id of the role''s trust policy, sealed with the data key.';
