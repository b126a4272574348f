//! What channels show of a deployment, before the markup of a kind. Texts of users are visible and bounded, and not yet escaped.

use url::Url;

use crate::domain::catalogue::Lang;
use crate::domain::deployment::Status;
use crate::domain::message::{Message, message};
use crate::domain::receiver::snapshot::DeploymentSnapshot;
use crate::domain::text;

/// Longest value of a field, in characters.
const MAX_VALUE: usize = 300;

/// Longest line of a milestone, in characters.
const MAX_LINE: usize = 800;

/// Short length of a commit.
const SHORT: usize = 12;

/// State of a deployment as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardState {
    /// It waits for the deployments before it.
    Queued,
    /// It builds, pushes or deploys.
    Running,
    /// It awaits the switch.
    Awaiting,
    /// The switch was approved.
    Switching,
    /// The traffic is on it.
    Completed,
    /// It ended with an error.
    Failed,
    /// A caller ended it.
    Cancelled,
    /// The traffic returned to the version before.
    RolledBack,
}

impl CardState {
    fn of(deployment: &DeploymentSnapshot) -> Self {
        match deployment.status {
            Status::Running if deployment.queued => Self::Queued,
            Status::Running => Self::Running,
            Status::DeploymentReady if deployment.switch_requested => Self::Switching,
            Status::DeploymentReady => Self::Awaiting,
            Status::Completed => Self::Completed,
            Status::Failed if deployment.is_rolled_back() => Self::RolledBack,
            Status::Failed if deployment.is_cancelled() => Self::Cancelled,
            Status::Failed => Self::Failed,
        }
    }

    /// A symbol that is recognised at a glance.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Queued => "⏳",
            Self::Running => "🚧",
            Self::Awaiting => "✋",
            Self::Switching => "🔀",
            Self::Completed => "✅",
            Self::Failed => "❌",
            Self::Cancelled => "🚫",
            Self::RolledBack => "⏪",
        }
    }

    /// A colour, as red, green and blue.
    pub fn colour(self) -> u32 {
        match self {
            Self::Queued | Self::Cancelled => 0x80_80_80,
            Self::Running | Self::Switching => 0x34_98_db,
            Self::Awaiting => 0xf1_c4_0f,
            Self::Completed => 0x2e_cc_71,
            Self::Failed | Self::RolledBack => 0xe7_4c_3c,
        }
    }

    fn text(self) -> Message {
        match self {
            Self::Queued => message!("channel.queued"),
            Self::Running => message!("channel.running"),
            Self::Awaiting => message!("channel.awaiting"),
            Self::Switching => message!("channel.switching"),
            Self::Completed => message!("channel.completed"),
            Self::Failed => message!("channel.failed"),
            Self::Cancelled => message!("channel.cancelled"),
            Self::RolledBack => message!("channel.rolled_back"),
        }
    }
}

/// A deployment as text.
#[derive(Clone, Debug)]
pub struct Card {
    /// Id of the deployment.
    pub deployment: String,
    /// State that it shows.
    pub state: CardState,
    /// The state in the reader's words.
    pub status: String,
    /// Repository and branch in one line.
    pub source: String,
    /// Values with their labels, in order.
    pub fields: Vec<(String, String)>,
    /// Milestones that were not shown yet.
    pub lines: Vec<String>,
    /// Sequence number of the newest of them; none without one.
    pub milestone: Option<i64>,
    /// One of them is that the switch is awaited.
    pub newly_awaited: bool,
    /// Page of the deployment and the text of its button; none where Panda does not know its own address.
    pub link: Option<(Url, String)>,
    /// Ids to notify; empty unless the switch is awaited.
    pub mentions: Vec<String>,
    /// Sentence that asks those for the switch.
    pub request: String,
}

impl Card {
    /// Renders a deployment. `mentions` are the ids of awaited approvers, `page` is the address of Panda's page.
    pub fn new(deployment: &DeploymentSnapshot, lang: Lang, page: Option<&Url>, mentions: Vec<String>) -> Self {
        let state = CardState::of(deployment);
        let text = |message: Message| message.text(lang);
        let mut fields = vec![
            (text(message!("channel.status")), text(state.text())),
            (text(message!("channel.target")), format!("{} · {}", deployment.account_id, deployment.region)),
        ];
        if let Some(sha) = &deployment.facts.commit_sha {
            let subject = deployment.facts.commit_subject.as_deref().unwrap_or_default();
            let short: String = sha.chars().take(SHORT).collect();
            fields.push((text(message!("channel.commit")), line(&format!("{short} {subject}"), MAX_VALUE)));
        }
        if let Some(by) = &deployment.started_by {
            fields.push((text(message!("channel.started_by")), line(by, MAX_VALUE)));
        }
        for (name, value) in &deployment.labels.0 {
            if fields.len() < 8 {
                fields.push((line(name, MAX_VALUE), line(value, MAX_VALUE)));
            }
        }
        if deployment.attempt > 1 {
            fields.push((text(message!("channel.attempt")), deployment.attempt.to_string()));
        }
        fields.push((text(message!("channel.deployment")), deployment.id.clone()));
        let rendered = deployment.milestones.iter().map(|event| line(&event.render(lang).message, MAX_LINE));
        let link = page.and_then(|page| page.join(&format!("deployments/{}", deployment.id)).ok());
        let awaited = state == CardState::Awaiting;
        Self {
            deployment: deployment.id.clone(),
            state,
            status: text(state.text()),
            source: line(&format!("{}/{} · {}", deployment.owner, deployment.repo, deployment.branch), MAX_VALUE),
            fields,
            lines: rendered.collect(),
            milestone: deployment.milestones.last().map(|event| event.seq),
            newly_awaited: awaited && deployment.milestones.iter().any(|event| event.code == "ready"),
            link: link.map(|url| (url, text(message!("channel.open")))),
            mentions: if awaited { mentions } else { Vec::new() },
            request: text(message!("channel.request")),
        }
    }

    /// The heading of a message.
    pub fn title(&self) -> String {
        format!("{} {}: {}", self.state.symbol(), self.source, self.status)
    }
}

/// One bounded line, in which every character is visible.
fn line(given: &str, max: usize) -> String {
    let one = text::visible(given).split_whitespace().collect::<Vec<_>>().join(" ");
    text::cut(&one, max)
}
