//! `[deploy.gitops]`.

use crate::config::Located;
use crate::config::read::table;
use crate::config::values::NOT_EMPTY;

table! {
    /// Options of the driver `gitops`.
    pub struct GitopsOptions derive Default {
        /// The repository that the cluster follows: a URL or a path.
        ["repository", NOT_EMPTY] repository: Option<Located<String>>,
        /// Absent: `main`.
        ["branch", NOT_EMPTY] branch: Option<Located<String>>,
    }
}
