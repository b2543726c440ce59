//! `[deploy.kubernetes]`.

use crate::config::Located;
use crate::config::read::table;
use crate::config::values::NOT_EMPTY;

table! {
    /// Options of the driver `kubernetes`.
    pub struct KubernetesOptions derive Default {
        /// Of the kubeconfig; absent: its current one.
        ["context", NOT_EMPTY] context: Option<Located<String>>,
        /// Absent: PROJECT-ENVIRONMENT.
        ["namespace", NOT_EMPTY] namespace: Option<Located<String>>,
    }
}
