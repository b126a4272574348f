//! A service: blue, possibly green, and the production and test listeners.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::super::accounts::{CLUSTER, REGION, USER_ACCOUNT};
use super::super::balancer_names as names;
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
    /// Weights of the production listener for blue and green.
    weights: (u32, u32),
    revision: u32,
}

/// The start of a service: where its tasks run, the registry of its image, and the time that its first container has to listen.
pub struct ServiceStart {
    pub tasks: Tasks,
    pub registry: Option<RegistryAddress>,
    pub patience: Duration,
}

/// Weights of a production listener that sends everything to blue, and to green.
const ON_BLUE: (u32, u32) = (100, 0);
const ON_GREEN: (u32, u32) = (0, 100);

/// A listener as Elastic Load Balancing describes it.
pub struct ListenerView {
    pub arn: String,
    pub rule_arn: String,
    pub balancer_arn: String,
    pub port: u16,
    /// Target groups by ARN, with their weights.
    pub weights: Vec<(String, u32)>,
}

/// A target group as Elastic Load Balancing describes it.
pub struct TargetGroupView {
    pub arn: String,
    pub name: String,
    pub balancer_arn: String,
    pub targets: Vec<SocketAddr>,
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
        let roles = Mutex::new(Roles { blue, green: None, blue_group: 1, weights: ON_BLUE, revision: 1 });
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

    /// Number of the newest revision.
    pub fn revision(&self) -> u32 {
        self.roles(|roles| roles.revision)
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

    /// Number of blue's target group, 1 or 2.
    pub fn blue_group(&self) -> u8 {
        self.roles(|roles| roles.blue_group)
    }

    fn target_group(&self, number: u8) -> String {
        names::target_group_arn(&self.repository, number)
    }

    /// Both listeners: production with its weights, and test, which leads to green's target group.
    pub fn listeners(&self) -> [ListenerView; 2] {
        let (blue, green) = self.target_groups();
        let weights = self.roles(|roles| roles.weights);
        let view = |name: &str, listener: &BalancerListener, weights| {
            let arn = names::listener_arn(&self.repository, name);
            let balancer_arn = names::balancer_arn(&self.repository);
            ListenerView { rule_arn: names::rule_arn(&arn), arn, balancer_arn, port: listener.port(), weights }
        };
        let production = vec![(blue, weights.0), (green.clone(), weights.1)];
        [view("production", &self.production, production), view("test", &self.test, vec![(green, 1)])]
    }

    /// Both target groups with their targets.
    pub fn target_group_views(&self) -> [TargetGroupView; 2] {
        let (blue_group, blue, green) =
            self.roles(|roles| (roles.blue_group, roles.blue.address, roles.green.as_ref().map(|green| green.address)));
        [1, 2].map(|number| TargetGroupView {
            arn: self.target_group(number),
            name: names::target_group(&self.repository, number),
            balancer_arn: names::balancer_arn(&self.repository),
            targets: if number == blue_group { vec![blue] } else { green.into_iter().collect() },
        })
    }

    /// Changes the weights of the production listener, as infrastructure code or a user of AWS would. A target group without targets gets no requests.
    pub fn set_weights(&self, blue: u32, green: u32) {
        self.route_by((blue, green));
    }

    fn route_by(&self, weights: (u32, u32)) {
        let targets = self.roles(|roles| {
            roles.weights = weights;
            let green = roles.green.as_ref().map(|green| (green.address, weights.1));
            [Some((roles.blue.address, weights.0)), green].into_iter().flatten().collect()
        });
        self.production.divide(targets);
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
        let has_green = self.roles(|roles| roles.green.is_some());
        if has_green {
            self.route_by(ON_GREEN);
        }
        has_green
    }

    /// Makes green the blue of the next deployment. Returns the old blue, which the caller must end.
    pub fn promote(&self) -> Option<Retired> {
        self.roles(|roles| {
            let green = roles.green.take()?;
            roles.blue_group = 3 - roles.blue_group;
            roles.weights = ON_BLUE;
            Some(Retired(std::mem::replace(&mut roles.blue, green)))
        })
    }

    /// Points the production listener to blue, and the test listener nowhere. Returns green, which the caller must end.
    pub fn withdraw_green(&self) -> Option<Retired> {
        let green = self.roles(|roles| roles.green.take());
        self.route_by(ON_BLUE);
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
