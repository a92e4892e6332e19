//! A member of a cluster: what keeps it from starting, and what it deletes once it has.

use std::path::Path;

use super::settings::{Place, ServerSettings};
use super::{Facts, JETSTREAM, Placement, Surroundings, event};
use crate::env::{FileKind, ReadFiles};
use crate::format::peers::Peers;
use crate::report::events::{Event, EventCode};
use crate::stream::meta_group;
use crate::stream::options::Standing;

/// Longer than any list of peers.
const PEERS_MAX: u64 = 1 << 20;

/// What the store knows of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Membership {
    /// The server stands alone, or nothing is known.
    #[default]
    Unknown,
    /// The cluster's metadata lies where the server looks, and does not exclude it.
    Member,
    /// There is no metadata of the cluster below the system account.
    NoMetaGroup,
    /// The members are known, and the server is none of them.
    Foreign,
}

impl Membership {
    /// What becomes of every stream once the server is up.
    pub(super) fn deletes(&self, settings: &ServerSettings) -> Option<Event> {
        let whole = Place::whole(&settings.file);
        let listener = settings.membership();
        let listener = listener.map_or(&whole, |listener| &listener.place);
        match self {
            Membership::Unknown | Membership::Member => None,
            Membership::NoMetaGroup => {
                let (place, why) = match &settings.system_account {
                    Some(set) => (&set.place, "of the system account configured here"),
                    None => (listener, "of the system account $SYS"),
                };
                let detail = format!(
                    "the server is a member of a cluster, and the store has no cluster metadata (_js_/_meta_) in the directory \
                     {why}: every stream that the other members do not assign to this server is deleted as an orphan 30 \
                     seconds after the cluster has a leader"
                );
                Some(event(EventCode::StreamOrphaned, place, detail))
            }
            Membership::Foreign => {
                let name = settings.server_name.as_ref();
                let place = name.map_or(listener, |set| &set.place);
                let detail = format!(
                    "no member of the cluster that this store belongs to is called {:?}: the server deletes every stream \
                     within seconds of meeting a leader",
                    name.map_or("", |set| set.value.as_str())
                );
                Some(event(EventCode::ServerNotAPeer, place, detail))
            }
        }
    }
}

impl Surroundings {
    /// What a member has to have to start.
    pub(super) fn listeners(&mut self) {
        let Some(settings) = self.settings.clone() else {
            return;
        };
        if !settings.jetstream.as_ref().is_some_and(|set| set.value) {
            return;
        }
        let Some(listener) = settings.membership() else {
            return;
        };
        let refused = EventCode::ServerStartRefused;
        if let Some(cluster) = settings.cluster.as_ref().filter(|cluster| cluster.listens) {
            if settings.server_name.is_none() {
                let detail = "a member of a cluster with JetStream has to have a server_name";
                self.refuse(refused, &cluster.place, detail);
            }
            let gateway = settings
                .gateway
                .as_ref()
                .and_then(|gateway| gateway.name.as_ref());
            if cluster.name.is_none() && gateway.is_none() {
                let detail = "a cluster with JetStream has to have a name";
                self.refuse(refused, &cluster.place, detail);
            }
        }
        let routes = settings
            .cluster
            .as_ref()
            .map_or(0, |cluster| cluster.routes);
        if routes == 0 && settings.system_leafnode().is_none() {
            let detail = "a member of a cluster with JetStream has to have routes, or a leafnode for the system account; the \
                          server opens its streams, which applies their limits, and ends";
            self.refuse(refused, &listener.place, detail);
        }
        if let Some(place) = settings.system_leafnode() {
            let detail = "a leafnode shares the system account: whether streams are kept is decided by the hub's metadata, \
                          which is not here";
            self.events
                .push(event(EventCode::SurroundingsUntold, place, detail));
        }
    }

    /// Looks for the cluster's metadata and the server among its members.
    pub(super) fn cluster(&mut self, fs: &dyn ReadFiles, facts: &Facts) {
        let Some(settings) = &self.settings else {
            return;
        };
        let dir = match (&self.placement, &facts.store_dir) {
            (Placement::Above, Some(store_dir)) => store_dir.clone(),
            (Placement::There, Some(store_dir)) => store_dir.join(JETSTREAM),
            _ => return,
        };
        if self.standing != Standing::Member || self.refused || settings.system_leafnode().is_some()
        {
            return;
        }
        let group = meta_group(&dir.join(settings.system_account()));
        self.membership = membership(fs, &group, settings);
    }
}

fn membership(fs: &dyn ReadFiles, group: &Path, settings: &ServerSettings) -> Membership {
    match fs.metadata(group) {
        Err(error) if error.is_not_found() => return Membership::NoMetaGroup,
        Ok(metadata) if metadata.kind == FileKind::Dir => {}
        _ => return Membership::Unknown,
    }
    let peers = fs.read(&group.join("peers.idx"), PEERS_MAX).ok();
    let peers = peers.and_then(|bytes| Peers::decode(&bytes));
    match (peers, &settings.server_name) {
        (Some(peers), Some(name)) if peers.are_all_known() && !peers.include(&name.value) => {
            Membership::Foreign
        }
        _ => Membership::Member,
    }
}
