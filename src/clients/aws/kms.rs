//! KMS: a key-encryption key that wraps data keys and never leaves the service.

use aws_config::{Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use secrecy::zeroize::Zeroizing;

use super::client;
use super::error::{failed, incomplete};
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::keyring::{EncryptionContext, KeyError, Wrapping, WrappingKey};

/// Key of the entry in KMS's encryption context that names the purpose of a data key. CloudTrail logs the context, so it must never contain the key.
const CONTEXT_KEY: &str = "panda";

/// Client for one KMS key, or for an alias of a key.
pub struct KmsKey {
    client: Client,
    arn: String,
}

impl KmsKey {
    /// Creates a client for the key `arn`, in the region that the ARN names.
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver, arn: &str) -> Self {
        let region = arn.split(':').nth(3).unwrap_or_default().to_owned();
        let config = config.to_builder().region(Region::new(region)).build();
        Self { client: client!(aws_sdk_kms, &config, observe), arn: arn.to_owned() }
    }

    async fn encrypt(&self, context: EncryptionContext<'_>, data_key: &[u8]) -> Result<Vec<u8>, ClientError> {
        const CALL: &str = "kms:Encrypt";
        let call = self.client.encrypt().key_id(&self.arn).encryption_context(CONTEXT_KEY, context.to_string());
        // The SDK's type does not zeroise its bytes, and the request body contains them as well for as long as sending it takes.
        let answer = call.plaintext(Blob::new(data_key)).send().await.map_err(|error| failed(CALL, &error))?;
        Ok(answer.ciphertext_blob.ok_or_else(|| incomplete(CALL, "ciphertext"))?.into_inner())
    }

    async fn decrypt(&self, context: EncryptionContext<'_>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        const CALL: &str = "kms:Decrypt";
        let call = self.client.decrypt().key_id(&self.arn).encryption_context(CONTEXT_KEY, context.to_string());
        let answer = call.ciphertext_blob(Blob::new(wrapped)).send().await.map_err(|error| failed(CALL, &error))?;
        Ok(Zeroizing::new(answer.plaintext.ok_or_else(|| incomplete(CALL, "plaintext"))?.into_inner()))
    }
}

impl WrappingKey for KmsKey {
    fn wrap<'a>(&'a self, context: EncryptionContext<'a>, data_key: &'a [u8]) -> Wrapping<'a, Vec<u8>> {
        Box::pin(async move { self.encrypt(context, data_key).await.map_err(|error| key_error(context, &error)) })
    }

    fn unwrap<'a>(&'a self, context: EncryptionContext<'a>, wrapped: &'a [u8]) -> Wrapping<'a, Zeroizing<Vec<u8>>> {
        Box::pin(async move { self.decrypt(context, wrapped).await.map_err(|error| key_error(context, &error)) })
    }
}

fn key_error(context: EncryptionContext<'_>, error: &ClientError) -> KeyError {
    // KMS reports nothing more precise when a ciphertext was changed, moved, or wrapped by another key.
    if error.message.contains("InvalidCiphertextException") || error.message.contains("IncorrectKeyException") {
        return KeyError::Broken(context.row.to_owned());
    }
    let transient = matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Throttled);
    KeyError::Service { key_id: context.key_id.to_owned(), problem: error.to_string(), transient }
}
