//! Servers that restart while they have readers.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;

use super::browser::Pages;
use super::nginx::Nginx;
use super::reader::ForeignReader;
use super::{programs, rust};
use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::panda::Panda;
use crate::support::process::{Serve, free_address};
use crate::support::sse_reader::Message;
use crate::support::wait_for;

/// Text that has broken readers before: line ends of all kinds, text that looks like the protocol, NUL, BOM, letters outside the basic plane, and a
/// line of 64 KiB.
fn hostile_texts() -> Vec<String> {
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

/// A deployment whose events are written while its Panda restarts repeatedly at the same address.
struct RestartingServer {
    db: TestDb,
    fixture: Fixture,
    listen: SocketAddr,
    origin: String,
    panda: Serve,
    received: usize,
}

/// A server of which only the API matters, for pages of `origin`, on a database in which the test writes the events.
fn serve(db: &TestDb, listen: SocketAddr, origin: &str) -> Serve {
    Panda::builder().on(db).flags(&[&format!("--cors-origins={origin}")]).process().listen(listen).start()
}

impl RestartingServer {
    async fn new(origin: &str) -> Self {
        let db = TestDb::new().await;
        let fixture = Fixture::begin(&db.db).await;
        let listen = free_address();
        let panda = serve(&db, listen, origin);
        let mut server = Self { db, fixture, listen, origin: origin.to_owned(), panda, received: 0 };
        server.serving().await;
        server
    }

    /// Waits until it serves; restarts it when another process had taken its port.
    async fn serving(&mut self) {
        let Self { db, listen, origin, panda, .. } = self;
        wait_for("the server serves", async || {
            if panda.ended().is_some() {
                *panda = serve(db, *listen, origin);
            }
            reqwest::get(format!("{}/readyz", panda.url)).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    async fn tell(&mut self, texts: &[String]) {
        for text in texts {
            self.received += 1;
            let event = Event::new(EventCode::BuildProgress).with("message", text.as_str()).keyed(self.received);
            self.fixture.tell(vec![event]).await;
        }
        self.db.db.notify_events(&[self.fixture.id().to_owned()]).await.unwrap();
    }

    async fn end_panda(&mut self, signal: Signal) {
        self.panda.signal(signal);
        self.panda.wait().await;
    }

    fn events(&self) -> String {
        format!("http://{}/api/v1/deploy/{}/events", self.listen, self.fixture.id())
    }

    async fn all_have_read(&self, readers: &[ForeignReader]) {
        for reader in readers {
            wait_for("the reader has read all events", async || {
                if let Some(how) = reader.end() {
                    panic!("{} ended: {how}", reader.name);
                }
                reader.count() >= self.received
            })
            .await;
        }
    }

    /// The sent events, read byte by byte from the present Panda.
    async fn sent(&self) -> Vec<Message> {
        let mut reader = crate::http::Reader::open(reqwest::Client::new().get(self.events())).await;
        let mut psql = self.db.psql().await;
        let sql = "SELECT count(*) FROM deployment_events WHERE deployment_id = $1";
        let count: i64 = sqlx::query_scalar(sql).bind(self.fixture.id()).fetch_one(&mut psql).await.unwrap();
        reader.take(usize::try_from(count).unwrap()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers__events_once_in_order_across_restarts() {
    let pages = Pages::bind().await;
    let mut server = RestartingServer::new(&pages.origin).await;
    // clients/js reads through nginx: its answers while no Panda runs would end a plain EventSource permanently.
    let nginx = Nginx::before(server.listen, "").await;
    server.tell(&["first".to_owned()]).await;
    let (events, direct) = (server.events(), server.panda.url.clone());
    let browser = pages.open(&direct, &nginx.url, server.fixture.id());
    let readers = [
        browser.plain.clone(),
        browser.follow.clone(),
        programs::npm("npm eventsource", &events),
        programs::client_js(&nginx.url, server.fixture.id(), "ko"),
        programs::python(&events),
        rust::eventsource_client(&events),
    ];
    let given_up = programs::npm("npm eventsource behind nginx", &events.replace(&direct, &nginx.url));
    server.all_have_read(&readers).await;
    server.all_have_read(std::slice::from_ref(&given_up)).await;
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        server.tell(&hostile_texts()).await;
        server.end_panda(signal).await;
        server.tell(&["while no replica served".to_owned()]).await;
        if signal == Signal::SIGKILL {
            wait_for("nginx answers 502 to a plain reader, which ends", async || given_up.end()).await;
            let through_nginx = [&browser.follow, &readers[3]];
            wait_for("clients/js knows", async || through_nginx.iter().all(|reader| reader.was("away"))).await;
        }
        server.serving().await;
        server.tell(&["served again".to_owned()]).await;
        server.all_have_read(&readers).await;
    }
    server.fixture.complete().await;
    let sent = server.sent().await;
    for reader in &readers {
        let end = wait_for("the reader ends on 204", async || reader.end()).await;
        assert_eq!(end, "home", "{}", reader.name);
        reader.read_exactly(&sent);
    }
    let texts: Vec<String> = sent.iter().map(Message::text).collect();
    for text in hostile_texts() {
        // Postgres cannot store NUL.
        let text = text.replace('\0', "\u{fffd}");
        assert_eq!(texts.iter().filter(|received| received.ends_with(&text)).count(), 2, "{text:?}");
    }
}
