//! What compiled policies are judged by: the catalog's programs and the mirror of the tables that they read. The feed
//! keeps it current, in commit order; shards read it when somebody joins a private channel.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::policy::{Catalog, Mirror};

/// Shared by the feed and the shards.
#[derive(Debug, Default)]
pub struct Engine(RwLock<Knowledge>);

/// What is known.
#[derive(Debug, Default)]
pub struct Knowledge {
    /// The programs, and what else the catalog says.
    pub catalog: Arc<Catalog>,
    /// The tables that they read.
    pub mirror: Mirror,
    /// Whether both are those of the stream: not while it is interrupted, or the catalog is being read anew.
    pub is_current: bool,
}

impl Engine {
    /// To judge by. Never held across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Knowledge> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change it: the feed alone does.
    pub fn write(&self) -> RwLockWriteGuard<'_, Knowledge> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
