//! Servers that come and go under their readers.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;

use super::browser::Pages;
use super::nginx::Nginx;
use super::reader::Reader;
use super::{programs, rust};
use crate::http::Story;
use crate::http::reader::Message;
use crate::support::db::TestDb;
use crate::support::process::{Serve, free_address};
use crate::support::wait_for;

/// Text that has broken readers before: line ends of all kinds, what looks like the protocol, NUL, BOM, letters outside the basic
/// plane, and a line of 64 KiB.
fn nasty() -> Vec<String> {
    let mut texts: Vec<String> = [
        "a\r\nb\rc\n\nd",
        "\n\nevent: fail\ndata: {\"message\":\"forged\"}\n\n",
        "\u{0}nul\u{0}",
        "\u{feff}bom\u{feff}",
        "🐼 \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} 한글",
        "\u{2028}line\u{2029}paragraph\u{85}next\u{b}\u{c}\u{1c}\u{1d}\u{1e}",
        "\u{fffd}\u{7f}\u{1b}[31m</script>\\\"'",
        " : leading colon and spaces  ",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("x".repeat(64 * 1024));
    texts.push("쏘".repeat(64 * 1024 / 3));
    texts
}

/// A deployment, told at a Panda that is started again and again at the same address.
struct Stage {
    db: TestDb,
    story: Story,
    listen: SocketAddr,
    origin: String,
    panda: Serve,
    told: usize,
}

impl Stage {
    async fn new(origin: &str) -> Self {
        let db = TestDb::new().await;
        let story = Story::begin(&db.db).await;
        let listen = free_address();
        let panda = Serve::api(&db, listen, origin);
        let mut stage = Self { db, story, listen, origin: origin.to_owned(), panda, told: 0 };
        stage.serving().await;
        stage
    }

    /// Waits until it serves; started again when somebody had taken its port.
    async fn serving(&mut self) {
        let Self { db, listen, origin, panda, .. } = self;
        wait_for("the server serves", async || {
            if panda.ended().is_some() {
                *panda = Serve::api(db, *listen, origin);
            }
            reqwest::get(format!("{}/readyz", panda.url)).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    async fn tell(&mut self, texts: &[String]) {
        for text in texts {
            self.told += 1;
            let event = Event::new(EventCode::BuildProgress).with("message", text.as_str()).keyed(self.told);
            self.story.tell(vec![event]).await;
        }
        self.db.db.notify_events(&[self.story.id().to_owned()]).await.unwrap();
    }

    async fn end_panda(&mut self, signal: Signal) {
        self.panda.signal(signal);
        self.panda.wait().await;
    }

    fn events(&self) -> String {
        format!("http://{}/api/v1/deploy/{}/events", self.listen, self.story.id())
    }

    async fn all_have_read(&self, readers: &[Reader]) {
        for reader in readers {
            wait_for("it has read all", async || {
                if let Some(how) = reader.end() {
                    panic!("{} ended: {how}", reader.name);
                }
                reader.count() >= self.told
            })
            .await;
        }
    }

    /// What was sent, read byte by byte from the Panda that serves now.
    async fn sent(&self) -> Vec<Message> {
        let mut reader = crate::http::Reader::open(reqwest::Client::new().get(self.events())).await;
        let mut psql = self.db.psql().await;
        let sql = "SELECT count(*) FROM deployment_events WHERE deployment_id = $1";
        let count: i64 = sqlx::query_scalar(sql).bind(self.story.id()).fetch_one(&mut psql).await.unwrap();
        reader.take(usize::try_from(count).unwrap()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_sees_every_event_once_and_in_order_whatever_restarts() {
    let pages = Pages::bind().await;
    let mut stage = Stage::new(&pages.origin).await;
    // clients/js reads through nginx: what that answers while there is no Panda ends a plain EventSource for good.
    let nginx = Nginx::before(stage.listen, "").await;
    stage.tell(&["first".to_owned()]).await;
    let (events, direct) = (stage.events(), stage.panda.url.clone());
    let browser = pages.open(&direct, &nginx.url, stage.story.id());
    let readers = [
        browser.plain.clone(),
        browser.follow.clone(),
        programs::npm("npm eventsource", &events),
        programs::client_js(&nginx.url, stage.story.id(), "ko"),
        programs::python(&events),
        rust::eventsource_client(&events),
    ];
    let given_up = programs::npm("npm eventsource behind nginx", &events.replace(&direct, &nginx.url));
    stage.all_have_read(&readers).await;
    stage.all_have_read(std::slice::from_ref(&given_up)).await;
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        stage.tell(&nasty()).await;
        stage.end_panda(signal).await;
        stage.tell(&["while nobody served".to_owned()]).await;
        if signal == Signal::SIGKILL {
            wait_for("nginx answers 502 to a plain one, which gives up", async || given_up.end()).await;
            let through_nginx = [&browser.follow, &readers[3]];
            wait_for("clients/js knows", async || through_nginx.iter().all(|reader| reader.was("away"))).await;
        }
        stage.serving().await;
        stage.tell(&["served again".to_owned()]).await;
        stage.all_have_read(&readers).await;
    }
    stage.story.complete().await;
    let sent = stage.sent().await;
    for reader in &readers {
        let end = wait_for("it goes home when nothing more can come", async || reader.end()).await;
        assert_eq!(end, "home", "{}", reader.name);
        reader.read_exactly(&sent);
    }
    let texts: Vec<String> = sent.iter().map(Message::text).collect();
    for text in nasty() {
        // Postgres has no NUL.
        let text = text.replace('\0', "\u{fffd}");
        assert_eq!(texts.iter().filter(|told| told.ends_with(&text)).count(), 2, "{text:?}");
    }
}
