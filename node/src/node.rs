//! A node manager: its threads, from start to end.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use muster_scheduler::CpuSet;
use thiserror::Error;

use crate::agent::{Agent, Reports};
use crate::clock::Clock;
use crate::enforcement::{Enforcement, NotPermitted, Permits, Way, punctual};
use crate::engine_actuator::AgentActuator;
use crate::handle::NodeHandle;
use crate::host_topology::{self, HostTopologyError};
use crate::manager::{Manager, Message};
use crate::reception::Reception;
use crate::records::Records;
use crate::schedule::Schedule;

/// What a node manager is asked to be.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Where VMs join: a path that is free, in a directory that only their user may enter.
    pub socket: PathBuf,
    /// What schedules them at first.
    pub schedule: Schedule,
    /// The CPUs that VMs are scheduled on; all of the host's if `None`.
    pub cpus: Option<CpuSet>,
    /// How; the best that is permitted if `None`.
    pub enforcement: Option<Enforcement>,
}

/// A node manager cannot be started.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The host's CPUs.
    #[error(transparent)]
    Topology(#[from] HostTopologyError),
    /// CPUs that are not there.
    #[error("none of the CPUs {asked} is online: there are {online}")]
    Cpus {
        /// What was asked for.
        asked: Box<CpuSet>,
        /// What there is.
        online: Box<CpuSet>,
    },
    /// Classes that this user may not set.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The socket.
    #[error("cannot listen for VMs at {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host has no thread left.
    #[error("cannot start the node manager's threads")]
    Thread(#[source] io::Error),
}

/// A running node manager. When it is dropped it ends as with [`stop`](Self::stop).
#[derive(Debug)]
pub struct Node {
    // In the order in which they end: nobody joins any more, then the manager gives everything back.
    reception: Option<Reception>,
    sender: Sender<Message>,
    manager: Option<JoinHandle<()>>,
    way: Way,
    cpus: CpuSet,
}

impl Node {
    /// Starts one. What this user may not do is done without: [`way`](Self::way) tells.
    pub fn start(spec: NodeSpec) -> Result<Self, NodeError> {
        let (topology, online) = host_topology::read()?;
        let asked = spec.cpus.unwrap_or(online);
        let cpus = asked & online;
        if cpus.is_empty() {
            return Err(NodeError::Cpus {
                asked: Box::new(asked),
                online: Box::new(online),
            });
        }
        let permits = Permits::probe();
        let way = permits.choose(spec.enforcement)?;
        let clock = Clock::start();
        let (sender, inbox) = channel();
        let reports = Reports::default();
        let agent = |cpu| {
            let wanted = cpus.contains(cpu);
            wanted
                .then(|| Agent::start(cpu, clock, permits, reports.clone(), sender.clone()))
                .transpose()
        };
        let agents: Result<Vec<_>, io::Error> = topology.cpus().iter().map(agent).collect();
        let agents = agents.map_err(NodeError::Thread)?;
        let actuator = AgentActuator {
            orders: vec![None; agents.len()],
            agents,
            seats: Vec::new(),
            records: Records::new(),
            way,
            is_idle: true,
        };
        let mut manager = Manager::new(clock, (inbox, reports), topology, cpus, actuator);
        manager.begin(spec.schedule);
        let body = move || {
            if let Err(error) = punctual(permits.manager_class()) {
                tracing::warn!(%error, "the manager has to wait like everybody");
            }
            manager.work();
        };
        let thread = thread::Builder::new()
            .name("manager".to_owned())
            .spawn(body);
        let mut node = Self {
            reception: None,
            sender: sender.clone(),
            manager: Some(thread.map_err(NodeError::Thread)?),
            way,
            cpus,
        };
        let reception = Reception::start(&spec.socket, way, sender);
        node.reception = Some(reception.map_err(|source| NodeError::Socket {
            path: spec.socket,
            source,
        })?);
        Ok(node)
    }

    /// How to ask it for something.
    pub fn handle(&self) -> NodeHandle {
        NodeHandle::new(self.sender.clone())
    }

    /// How it makes the host obey.
    pub fn way(&self) -> Way {
        self.way
    }

    /// The CPUs that it schedules VMs on.
    pub fn cpus(&self) -> CpuSet {
        self.cpus
    }

    /// Ends it: gates open, and VMs' threads get back the class and affinity that they had.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // First the manager: VMs that see their connection end take back what they were given.
        let _ = self.sender.send(Message::End);
        if let Some(manager) = self.manager.take() {
            // A panic was reported when it happened.
            let _ = manager.join();
        }
        self.reception = None;
    }
}
