//! The admin API, one file for each resource. Every act is a governance act, decided on the one road.

pub(crate) mod accounts;
pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod blueprints;
pub(crate) mod catalog;
pub(crate) mod decisions;
pub(crate) mod doctor;
pub(crate) mod erasures;
pub(crate) mod grants;
pub(crate) mod ledger;
pub(crate) mod people;
pub(crate) mod policies;
pub(crate) mod questions;
pub(crate) mod servers;
pub(crate) mod stops;
pub(crate) mod tasks;
