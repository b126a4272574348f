//! Options of a channel, and the body that they make.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use crate::cli::error::CliError;
use crate::cli::{secret, webhook};

/// Kind of a channel.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    Slack,
    Teams,
    Discord,
    Mail,
    Github,
}

/// Content, place and times of a channel.
#[derive(Args, Debug)]
pub struct SettingsArgs {
    /// File with the bot token, the address of the incoming webhook or the password, - for standard input; PANDA_CHANNEL_SECRET when absent
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Id of the Slack channel
    #[arg(long, value_name = "ID")]
    slack_channel: Option<String>,
    /// Address of Slack's Web API, if not the public one (GovSlack)
    #[arg(long, value_name = "URL")]
    slack_api: Option<String>,
    /// Name or address of the server of SMTP
    #[arg(long, value_name = "HOST")]
    smtp_host: Option<String>,
    /// Port of the server of SMTP; by default 465 for tls, 587 for starttls, 25 for plain
    #[arg(long, value_name = "PORT")]
    smtp_port: Option<u16>,
    /// Protection of the connection to the server of SMTP; starttls by default
    #[arg(long, value_name = "SECURITY", value_parser = ["starttls", "tls", "plain"])]
    smtp_security: Option<String>,
    /// User name for the server of SMTP
    #[arg(long, value_name = "USER")]
    smtp_user: Option<String>,
    /// Address of the sender of mails
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Address that gets each mail; repeatable
    #[arg(long = "to", value_name = "ADDRESS")]
    to: Vec<String>,
    /// Environment at GitHub of deployments without the label environment; production by default
    #[arg(long, value_name = "NAME")]
    github_environment: Option<String>,
    /// True if people use the environments at GitHub; by default those named production
    #[arg(long, value_name = "BOOL")]
    github_production: Option<bool>,
    #[command(flatten)]
    filter: webhook::FilterArgs,
    /// Daily time in which deliveries wait: FROM-TO, such as 22:00-08:00
    #[arg(long, value_name = "FROM-TO", requires = "time_zone")]
    quiet: Option<String>,
    /// Time zone of the quiet hours, such as Asia/Seoul
    #[arg(long, value_name = "ZONE", requires = "quiet")]
    time_zone: Option<String>,
    /// Type or code of events that quiet hours do not hold; repeatable
    #[arg(long = "except", value_name = "EVENT", value_parser = webhook::event, requires = "quiet")]
    except: Vec<String>,
    /// Id that is notified when a switch awaits its approval, such as a group's; repeatable
    #[arg(long = "mention", value_name = "ID")]
    mentions: Vec<String>,
    /// Approver who is notified when a switch awaits its approval; repeatable
    #[arg(long = "approver", value_name = "SUBJECT=ID", value_parser = approver)]
    approvers: Vec<(String, String)>,
}

fn approver(given: &str) -> Result<(String, String), String> {
    let (subject, id) = given.rsplit_once('=').ok_or("give SUBJECT=ID")?;
    Ok((subject.to_owned(), id.to_owned()))
}

impl SettingsArgs {
    /// The body of a new channel.
    pub fn body(&self, kind: Kind) -> Result<Value, CliError> {
        let kind = match kind {
            Kind::Slack => "slack",
            Kind::Teams => "teams",
            Kind::Discord => "discord",
            Kind::Mail => "mail",
            Kind::Github => "github",
        };
        let mut body = json!({"kind": kind});
        self.fill(&mut body)?;
        Ok(body)
    }

    /// Sets the fields that are given.
    pub fn fill(&self, body: &mut Value) -> Result<(), CliError> {
        webhook::fill(body, &self.filter);
        let slack = [("channel", &self.slack_channel), ("apiUrl", &self.slack_api)];
        set(body, "slack", slack.map(|(name, value)| (name, value.as_ref().map(|value| json!(value)))));
        let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
        let mail = [
            ("host", text(&self.smtp_host)),
            ("port", self.smtp_port.map(|port| json!(port))),
            ("security", text(&self.smtp_security)),
            ("user", text(&self.smtp_user)),
            ("from", text(&self.from)),
            ("to", (!self.to.is_empty()).then(|| json!(self.to))),
        ];
        set(body, "mail", mail);
        let github = [
            ("environment", text(&self.github_environment)),
            ("production", self.github_production.map(|is| json!(is))),
        ];
        set(body, "github", github);
        if let Some(quiet) = &self.quiet {
            let (from, to) = quiet.split_once('-').unwrap_or((quiet, ""));
            body["quietHours"] = json!({"from": from, "to": to, "timeZone": self.time_zone, "except": self.except});
        }
        let approvers: Map<String, Value> =
            self.approvers.iter().map(|(subject, id)| (subject.clone(), json!(id))).collect();
        let mentions = [
            ("default", (!self.mentions.is_empty()).then(|| json!(self.mentions))),
            ("subjects", (!approvers.is_empty()).then_some(Value::Object(approvers))),
        ];
        set(body, "mentions", mentions);
        if let Some(secret) = secret::read("--secret-file", self.secret_file.as_deref(), &["PANDA_CHANNEL_SECRET"])? {
            body["secret"] = json!(secret.expose_secret());
        }
        Ok(())
    }
}

/// Sets the given members of a member.
fn set<const N: usize>(body: &mut Value, name: &str, members: [(&str, Option<Value>); N]) {
    for (member, value) in members.into_iter().filter_map(|(member, value)| Some((member, value?))) {
        body[name][member] = value;
    }
}

/// The settings of a shown channel as a request has them.
pub fn of(channel: &Value) -> Value {
    let fields = [
        "kind",
        "slack",
        "mail",
        "github",
        "description",
        "events",
        "repositories",
        "labels",
        "language",
        "quietHours",
        "mentions",
        "enabled",
    ];
    let kept =
        fields.into_iter().filter_map(|field| Some((field, channel.get(field).filter(|value| !value.is_null())?)));
    let mut body: Map<String, Value> = kept.map(|(field, value)| (field.to_owned(), value.clone())).collect();
    for nested in ["slack", "mail", "github"] {
        if let Some(members) = body.get_mut(nested).and_then(Value::as_object_mut) {
            members.retain(|_, value| !value.is_null());
        }
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_keeps_what_is_not_given() {
        let shown = json!({"channelId": "chn_1", "kind": "mail", "host": null, "slack": null, "mail": {"host": "h", "user": null},
                           "events": ["fail"], "repositories": null, "language": "en", "enabled": false, "delivered": 7});
        let kept =
            json!({"kind": "mail", "mail": {"host": "h"}, "events": ["fail"], "language": "en", "enabled": false});
        assert_eq!(of(&shown), kept);
        assert_eq!(approver("oidc:a=b=U1").unwrap(), ("oidc:a=b".to_owned(), "U1".to_owned()));
    }
}
