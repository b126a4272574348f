//! A service: blue, possibly green, and the production and test listeners.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::super::accounts::{CLUSTER, REGION, USER_ACCOUNT};
use super::super::options::RegistryAddress;
use super::super::tasks::Tasks;
use super::balancer::BalancerListener;
use super::container::{Condition, ContainerError, RunningContainer};
use super::{Fleet, placeholder};

const START_ATTEMPTS: u32 = 3;

/// A container or placeholder behind a listener.
#[derive(Clone, Debug)]
struct Backend {
    address: SocketAddr,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Container(String),
    Placeholder(CancellationToken),
}

struct Roles {
    blue: Backend,
    green: Option<Backend>,
    /// Number of blue's target group, 1 or 2.
    blue_group: u8,
    revision: u32,
}

/// The start of a service: where its tasks run, the registry of its image, and the time that its first container has to listen.
pub struct ServiceStart {
    pub tasks: Tasks,
    pub registry: Option<RegistryAddress>,
    pub patience: Duration,
}

/// The service of one repository.
pub struct EcsService {
    repository: String,
    production: BalancerListener,
    test: BalancerListener,
    roles: Mutex<Roles>,
}

impl EcsService {
    /// Starts blue (the initial image, or the placeholder) and both listeners.
    pub async fn start(fleet: &Fleet, start: &ServiceStart, repository: &str) -> Result<Self, ContainerError> {
        let blue = first_blue(fleet, start, repository).await?;
        let production = BalancerListener::open(&start.tasks, fleet.http.clone()).await?;
        let test = BalancerListener::open(&start.tasks, fleet.http.clone()).await?;
        production.point_to(Some(blue.address));
        let roles = Mutex::new(Roles { blue, green: None, blue_group: 1, revision: 1 });
        Ok(Self { repository: repository.to_owned(), production, test, roles })
    }

    fn roles<T>(&self, act: impl FnOnce(&mut Roles) -> T) -> T {
        act(&mut self.roles.lock())
    }

    /// URL of the production listener.
    pub fn production_url(&self) -> String {
        self.production.url()
    }

    /// URL of the test listener, which leads to green before the switch.
    pub fn test_url(&self) -> String {
        self.test.url()
    }

    pub fn task_definition(&self) -> String {
        format!("{}:{}", self.repository, self.roles(|roles| roles.revision))
    }

    /// Creates a new revision for the next deployment.
    pub fn register_task(&self) -> String {
        self.roles(|roles| roles.revision += 1);
        self.task_definition()
    }

    pub fn arn(&self, colour: &str) -> String {
        format!("arn:aws:ecs:{REGION}:{USER_ACCOUNT}:service/{CLUSTER}/{}-{colour}", self.repository)
    }

    /// The target groups of blue and green; each switch swaps them.
    pub fn target_groups(&self) -> (String, String) {
        let blue = self.roles(|roles| roles.blue_group);
        (self.target_group(blue), self.target_group(3 - blue))
    }

    fn target_group(&self, number: u8) -> String {
        let hash = hex::encode(Sha256::digest(format!("{}/{number}", self.repository)));
        let name: String = self.repository.replace(['/', '.', '_'], "-").chars().take(24).collect();
        format!("arn:aws:elasticloadbalancing:{REGION}:{USER_ACCOUNT}:targetgroup/{name}-{number}/{}", &hash[..16])
    }

    /// Makes a container green, and points the test listener to it.
    pub fn set_green(&self, running: &RunningContainer) {
        self.roles(|roles| {
            roles.green = Some(Backend { address: running.address, kind: Kind::Container(running.id.clone()) });
        });
        self.test.point_to(Some(running.address));
    }

    /// Points the production listener to green, from the next request on. Returns false when green does not exist.
    pub fn shift(&self) -> bool {
        let green = self.roles(|roles| roles.green.as_ref().map(|green| green.address));
        if green.is_some() {
            self.production.point_to(green);
        }
        green.is_some()
    }

    /// Makes green the blue of the next deployment. Returns the old blue, which the caller must end.
    pub fn promote(&self) -> Option<Retired> {
        self.roles(|roles| {
            let green = roles.green.take()?;
            roles.blue_group = 3 - roles.blue_group;
            Some(Retired(std::mem::replace(&mut roles.blue, green)))
        })
    }

    /// Points the production listener to blue, and the test listener nowhere. Returns green, which the caller must end.
    pub fn withdraw_green(&self) -> Option<Retired> {
        let (green, blue) = self.roles(|roles| (roles.green.take(), roles.blue.address));
        self.production.point_to(Some(blue));
        self.test.point_to(None);
        green.map(Retired)
    }
}

/// A backend without traffic that still runs.
#[must_use = "it runs until it is ended"]
pub struct Retired(Backend);

impl Retired {
    pub async fn end(self, fleet: &Fleet) {
        match self.0.kind {
            Kind::Container(id) => fleet.remove(&id).await,
            Kind::Placeholder(end) => end.cancel(),
        }
    }
}

async fn first_blue(fleet: &Fleet, start: &ServiceStart, repository: &str) -> Result<Backend, ContainerError> {
    let Some(image) = &fleet.initial_image else {
        let end = CancellationToken::new();
        let address = placeholder::start(&start.tasks, repository, end.clone()).await?;
        return Ok(Backend { address, kind: Kind::Placeholder(end) });
    };
    let mut attempt = 1;
    loop {
        let running = fleet.run(image, start.registry.as_ref(), repository, "blue").await?;
        let error = match fleet.watch(&running, start.patience).await? {
            Condition::Listening => return Ok(Backend { address: running.address, kind: Kind::Container(running.id) }),
            Condition::PortTaken if attempt < START_ATTEMPTS => None,
            Condition::PortTaken => Some(ContainerError::Network(std::io::ErrorKind::AddrInUse.into())),
            Condition::Quiet => Some(ContainerError::Silent(start.patience)),
            Condition::Exited { code, log } => Some(ContainerError::Exited { code, log }),
        };
        fleet.remove(&running.id).await;
        if let Some(error) = error {
            return Err(error);
        }
        attempt += 1;
    }
}
