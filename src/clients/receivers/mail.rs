//! Mail: one for each milestone, in one thread per deployment.
//!
//! The id of a mail follows from receiver, deployment and milestone, so that readers recognise one that a crash repeats, and all mails of a deployment
//! refer to the same first id, so that they are grouped. Headers are built by `lettre` from checked addresses and one-line texts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox as Address, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials as SmtpCredentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;

use crate::clients::ssrf_guard::refusal_message;
use crate::domain::destination::Destinations;
use crate::domain::receiver::DeliveryReceiver;
use crate::domain::receiver::attempt::AttemptAnswer;
use crate::domain::receiver::channel::card::Card;
use crate::domain::receiver::channel::{MailSecurity, Mailbox};
use crate::domain::text;

/// Time limit of a mail, connecting included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of each command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(8);

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 150;

/// Longest stored error, in characters.
const MAX_ERROR: usize = 300;

/// Client of servers of SMTP.
#[derive(Clone, Debug)]
pub(super) struct MailClient {
    destinations: Arc<Destinations>,
}

impl MailClient {
    pub(super) fn new(destinations: Destinations) -> Self {
        Self { destinations: Arc::new(destinations) }
    }

    pub(super) async fn show(&self, receiver: &DeliveryReceiver, mailbox: &Mailbox, card: &Card) -> AttemptAnswer {
        let domain = mailbox.from.rsplit_once('@').map_or("panda.invalid", |(_, domain)| domain);
        let root = format!("<{}.{}@{domain}>", receiver.id, card.deployment);
        let id = format!("<{}.{}.{}@{domain}>", receiver.id, card.deployment, card.milestone.unwrap_or_default());
        // The same for each mail of a deployment: many readers group by it.
        let subject = format!("[Panda] {} ({})", card.source, card.deployment);
        let mut builder = Message::builder()
            .message_id(Some(id))
            .references(root.clone())
            .in_reply_to(root)
            .subject(text::cut(&subject, MAX_SUBJECT));
        for approver in card.mentions.iter().filter(|approver| !mailbox.to.contains(approver)) {
            match address(approver) {
                Ok(address) => builder = builder.cc(address),
                Err(answer) => return answer,
            }
        }
        self.send(receiver, mailbox, builder, body(card)).await
    }

    pub(super) async fn test(&self, receiver: &DeliveryReceiver, mailbox: &Mailbox, text: &str) -> AttemptAnswer {
        self.send(receiver, mailbox, Message::builder().subject("[Panda]"), text.to_owned()).await
    }

    async fn send(
        &self,
        receiver: &DeliveryReceiver,
        mailbox: &Mailbox,
        mut builder: MessageBuilder,
        body: String,
    ) -> AttemptAnswer {
        for to in &mailbox.to {
            match address(to) {
                Ok(address) => builder = builder.to(address),
                Err(answer) => return answer,
            }
        }
        let message = match address(&mailbox.from) {
            Ok(from) => builder.from(from).header(ContentType::TEXT_PLAIN).body(body),
            Err(answer) => return answer,
        };
        let message = match message {
            Ok(message) => message,
            Err(error) => return AttemptAnswer::refused(None, format!("mail: {error}")),
        };
        let sent = async {
            let transport = self.transport(receiver, mailbox).await?;
            transport.send(message).await.map_err(|error| failure(&error))
        };
        match tokio::time::timeout(TIMEOUT, sent).await {
            Ok(Ok(_)) => AttemptAnswer::delivered(Some(250)),
            Ok(Err(answer)) => answer,
            Err(_) => AttemptAnswer::failed(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn transport(
        &self,
        receiver: &DeliveryReceiver,
        mailbox: &Mailbox,
    ) -> Result<AsyncSmtpTransport<Tokio1Executor>, AttemptAnswer> {
        let server = self.resolve(mailbox).await?;
        if mailbox.security == MailSecurity::Plain && !is_private(server.ip()) {
            let reason = format!("{} is not private: mail to it needs TLS (security tls or starttls)", server.ip());
            return Err(AttemptAnswer::failed(reason));
        }
        // The certificate is that of the name, the connection leads to the address that was checked.
        let tls = || TlsParameters::new(mailbox.host.clone()).map_err(|error| AttemptAnswer::failed(cut(&error)));
        let tls = match mailbox.security {
            MailSecurity::Tls => Tls::Wrapper(tls()?),
            MailSecurity::Starttls => Tls::Required(tls()?),
            MailSecurity::Plain => Tls::None,
        };
        let domain = mailbox.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain).to_owned();
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.ip().to_string())
            .port(mailbox.port)
            .tls(tls)
            .timeout(Some(COMMAND_TIMEOUT))
            .hello_name(ClientId::Domain(domain));
        let password = receiver.credentials.secret().map(|secret| secret.expose_secret().to_owned());
        Ok(match &mailbox.user {
            Some(user) => builder.credentials(SmtpCredentials::new(user.clone(), password.unwrap_or_default())),
            None => builder,
        }
        .build())
    }

    /// Returns an allowed address of the server.
    async fn resolve(&self, mailbox: &Mailbox) -> Result<SocketAddr, AttemptAnswer> {
        let host = mailbox.host.trim_matches(['[', ']']);
        let found = tokio::net::lookup_host((host, mailbox.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|error| AttemptAnswer::failed(cut(&error)))?.collect();
        let allowed = found.iter().find(|address| self.destinations.allow(address.ip()));
        allowed.copied().ok_or_else(|| {
            let refused = found.first().map(|address| refusal_message(address.ip()));
            AttemptAnswer::failed(refused.unwrap_or_else(|| "the server's name has no address".to_owned()))
        })
    }
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

fn address(text: &str) -> Result<Address, AttemptAnswer> {
    text.parse().map_err(|error| AttemptAnswer::refused(None, format!("mail address: {}", cut(&error))))
}

/// A server that refuses a mail for ever (5xx after the sign-in) gets it once.
fn failure(error: &lettre::transport::smtp::Error) -> AttemptAnswer {
    let status = error.status().map(u16::from);
    let reason = format!("mail: {}", cut(error));
    match status {
        Some(550..=554) => AttemptAnswer::refused(status, reason),
        _ => AttemptAnswer { status, ..AttemptAnswer::failed(reason) },
    }
}

fn cut(error: &dyn std::error::Error) -> String {
    text::cut(&text::visible(&text::chain(error)), MAX_ERROR)
}

fn body(card: &Card) -> String {
    let mut lines = vec![card.title(), String::new()];
    if !card.mentions.is_empty() {
        lines.extend([card.request.clone(), String::new()]);
    }
    lines.extend(card.lines.iter().cloned());
    lines.push(String::new());
    lines.extend(card.fields.iter().map(|(name, value)| format!("{name}: {value}")));
    if let Some((url, _)) = &card.link {
        lines.extend([String::new(), url.to_string()]);
    }
    lines.join("\n")
}
