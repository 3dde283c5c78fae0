//! What the clusters of the field are like: how people really set up PostgreSQL, the agent and Pacemaker around it. A lab has one
//! profile; the plain one is PostgreSQL's and the agent's defaults.
//!
//! | file | what |
//! |---|---|
//! | `choices` | what there is to choose, and which choices do not go together |
//! | `draw` | a profile drawn by a seed |
//! | `text` | how a profile is written: `slots=yes,rejoin=clone` |
//! | `settings` | what a profile means for PostgreSQL, the agent and the cluster |

mod choices;
mod draw;
mod settings;
mod text;

pub(crate) use choices::{Cascade, Commits, Constraint, Guard, Layout, Nodes, Profile, Rejoin, Role};
pub(crate) use settings::{ARCHIVE, MONITOR_ROLE, PASSWORD, PASSWORD_IN_FILE};

use choices::{Archive, Delay, Follow, Slots, Wal};
