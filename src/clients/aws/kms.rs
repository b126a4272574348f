//! KMS: a key that wraps data keys and never leaves the service.

use aws_config::{Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use secrecy::zeroize::Zeroizing;

use super::client;
use super::error::{failed, incomplete};
use super::observe::Observe;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::keyring::{Context, KeyError, Wrapping, WrappingKey};

/// Names the place in KMS's encryption context, which its own log (CloudTrail) shows: what a data key is for, never the key.
const CONTEXT: &str = "panda";

/// One key of KMS, or an alias that names one.
pub struct KmsKey {
    client: Client,
    arn: String,
}

impl KmsKey {
    /// The key of `arn`, in the region that it names.
    pub(super) fn new(config: &SdkConfig, observe: &Observe, arn: &str) -> Self {
        let region = arn.split(':').nth(3).unwrap_or_default().to_owned();
        let config = config.to_builder().region(Region::new(region)).build();
        Self { client: client!(aws_sdk_kms, &config, observe), arn: arn.to_owned() }
    }

    async fn encrypt(&self, context: Context<'_>, data_key: &[u8]) -> Result<Vec<u8>, ClientError> {
        const CALL: &str = "kms:Encrypt";
        let call = self.client.encrypt().key_id(&self.arn).encryption_context(CONTEXT, context.to_string());
        // The SDK's type does not wipe its bytes: they are in the request's body as well, for as long as it takes to send it.
        let answer = call.plaintext(Blob::new(data_key)).send().await.map_err(|error| failed(CALL, &error))?;
        Ok(answer.ciphertext_blob.ok_or_else(|| incomplete(CALL, "ciphertext"))?.into_inner())
    }

    async fn decrypt(&self, context: Context<'_>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        const CALL: &str = "kms:Decrypt";
        let call = self.client.decrypt().key_id(&self.arn).encryption_context(CONTEXT, context.to_string());
        let answer = call.ciphertext_blob(Blob::new(wrapped)).send().await.map_err(|error| failed(CALL, &error))?;
        Ok(Zeroizing::new(answer.plaintext.ok_or_else(|| incomplete(CALL, "plaintext"))?.into_inner()))
    }
}

impl WrappingKey for KmsKey {
    fn wrap<'a>(&'a self, context: Context<'a>, data_key: &'a [u8]) -> Wrapping<'a, Vec<u8>> {
        Box::pin(async move { self.encrypt(context, data_key).await.map_err(|error| refused(context, &error)) })
    }

    fn unwrap<'a>(&'a self, context: Context<'a>, wrapped: &'a [u8]) -> Wrapping<'a, Zeroizing<Vec<u8>>> {
        Box::pin(async move { self.decrypt(context, wrapped).await.map_err(|error| refused(context, &error)) })
    }
}

fn refused(context: Context<'_>, error: &ClientError) -> KeyError {
    // KMS says no more than this when a ciphertext was changed, moved, or wrapped by another key.
    if error.message.contains("InvalidCiphertextException") || error.message.contains("IncorrectKeyException") {
        return KeyError::Broken(context.place.to_owned());
    }
    let passing = matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Throttled);
    KeyError::Service { key_id: context.key_id.to_owned(), problem: error.to_string(), passing }
}
