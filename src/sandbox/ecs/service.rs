//! A service: blue, perhaps green, and the two listeners before them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::super::accounts::{REGION, USER_ACCOUNT};
use super::super::world::World;
use super::balancer::Listener;
use super::container::{Condition, ContainerError, Running};
use super::{CLUSTER, placeholder};

const START_ATTEMPTS: u32 = 3;

/// What answers behind a listener.
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
    /// Which of the two target groups is blue's.
    blue_group: u8,
    revision: u32,
}

/// The service of one repository.
pub struct Service {
    repository: String,
    production: Listener,
    test: Listener,
    roles: Mutex<Roles>,
}

impl Service {
    /// Starts blue (the initial image, or the placeholder) and both listeners.
    pub async fn start(world: &Arc<World>, repository: &str) -> Result<Self, ContainerError> {
        let blue = first_blue(world, repository).await?;
        let production = Listener::open(world, world.fleet.http.clone()).await?;
        let test = Listener::open(world, world.fleet.http.clone()).await?;
        production.point_to(Some(blue.address));
        let roles = Mutex::new(Roles { blue, green: None, blue_group: 1, revision: 1 });
        Ok(Self { repository: repository.to_owned(), production, test, roles })
    }

    fn roles<T>(&self, act: impl FnOnce(&mut Roles) -> T) -> T {
        act(&mut self.roles.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where production traffic arrives.
    pub fn production_url(&self) -> String {
        self.production.url()
    }

    /// Where green can be looked at before it has the traffic.
    pub fn test_url(&self) -> String {
        self.test.url()
    }

    pub fn task_definition(&self) -> String {
        format!("{}:{}", self.repository, self.roles(|roles| roles.revision))
    }

    /// A new revision for the next deployment.
    pub fn register_task(&self) -> String {
        self.roles(|roles| roles.revision += 1);
        self.task_definition()
    }

    pub fn arn(&self, colour: &str) -> String {
        format!("arn:aws:ecs:{REGION}:{USER_ACCOUNT}:service/{CLUSTER}/{}-{colour}", self.repository)
    }

    /// The target groups of blue and green; they change places with each switch.
    pub fn target_groups(&self) -> (String, String) {
        let blue = self.roles(|roles| roles.blue_group);
        (self.target_group(blue), self.target_group(3 - blue))
    }

    fn target_group(&self, number: u8) -> String {
        let hash = hex::encode(Sha256::digest(format!("{}/{number}", self.repository)));
        let name: String = self.repository.replace(['/', '.', '_'], "-").chars().take(24).collect();
        format!("arn:aws:elasticloadbalancing:{REGION}:{USER_ACCOUNT}:targetgroup/{name}-{number}/{}", &hash[..16])
    }

    /// Makes a container green: the test listener goes there.
    pub fn set_green(&self, running: &Running) {
        self.roles(|roles| {
            roles.green = Some(Backend { address: running.address, kind: Kind::Container(running.id.clone()) });
        });
        self.test.point_to(Some(running.address));
    }

    /// Production goes to green from the next request on. False when there is no green.
    pub fn shift(&self) -> bool {
        let green = self.roles(|roles| roles.green.as_ref().map(|green| green.address));
        if green.is_some() {
            self.production.point_to(green);
        }
        green.is_some()
    }

    /// Green becomes the next deployment's blue. The old blue is for the caller to end.
    pub fn promote(&self) -> Option<Retired> {
        self.roles(|roles| {
            let green = roles.green.take()?;
            roles.blue_group = 3 - roles.blue_group;
            Some(Retired(std::mem::replace(&mut roles.blue, green)))
        })
    }

    /// Production goes to blue, the test listener nowhere. Green is for the caller to end.
    pub fn withdraw_green(&self) -> Option<Retired> {
        let (green, blue) = self.roles(|roles| (roles.green.take(), roles.blue.address));
        self.production.point_to(Some(blue));
        self.test.point_to(None);
        green.map(Retired)
    }
}

/// What has no traffic any more.
#[must_use = "it runs until it is ended"]
pub struct Retired(Backend);

impl Retired {
    pub async fn end(self, world: &World) {
        match self.0.kind {
            Kind::Container(id) => world.fleet.remove(&id).await,
            Kind::Placeholder(end) => end.cancel(),
        }
    }
}

async fn first_blue(world: &Arc<World>, repository: &str) -> Result<Backend, ContainerError> {
    let Some(image) = &world.fleet.initial_image else {
        let end = CancellationToken::new();
        let address = placeholder::start(world, repository, end.clone()).await?;
        return Ok(Backend { address, kind: Kind::Placeholder(end) });
    };
    let registry = world.registry().ok();
    let patience = world.timing.container_start;
    let mut attempt = 1;
    loop {
        let running = world.fleet.run(image, registry.as_ref(), repository, "blue").await?;
        let error = match world.fleet.watch(&running, patience).await? {
            Condition::Listening => return Ok(Backend { address: running.address, kind: Kind::Container(running.id) }),
            Condition::PortTaken if attempt < START_ATTEMPTS => None,
            Condition::PortTaken => Some(ContainerError::Network(std::io::ErrorKind::AddrInUse.into())),
            Condition::Quiet => Some(ContainerError::Silent(patience)),
            Condition::Exited { code, log } => Some(ContainerError::Exited { code, log }),
        };
        world.fleet.remove(&running.id).await;
        if let Some(error) = error {
            return Err(error);
        }
        attempt += 1;
    }
}
