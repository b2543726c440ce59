//! `[deploy.gitops]`.

use crate::config::Located;
use crate::config::read::{table, words};
use crate::config::values::NOT_EMPTY;

table! {
    /// Options of the driver `gitops`; `[deploy.kubernetes]` says what is rendered.
    pub struct GitopsOptions derive Default {
        /// The repository that the cluster follows: a URL, or a path from the root.
        ["repository", NOT_EMPTY] repository: Option<Located<String>>,
        /// Absent: `main`.
        ["branch", NOT_EMPTY] branch: Option<Located<String>>,
        /// The environment's folder in it; absent: `environments/ENVIRONMENT`.
        ["path", NOT_EMPTY] path: Option<Located<String>>,
        /// For which controllers an object that follows the folder is written, where there is none yet;
        /// absent: both.
        ["controllers"] controllers: Option<Vec<Located<Controller>>>,
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Controller {
        /// An `Application`, in `argocd/`.
        "argocd" => ArgoCd,
        /// A `GitRepository` and a `Kustomization`, in `flux/`.
        "flux" => Flux,
    }
}
