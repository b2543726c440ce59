//! The objects by which a cluster follows the folder of an environment. Pure.

use serde_json::{Value, json};

use crate::config::deploy::gitops::Controller;
use crate::deploy::kubernetes::manifest::Frame;

/// Where an environment's manifests lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Without credentials.
    pub repository: String,
    pub branch: String,
    /// Its folder, without `/` at its ends.
    pub path: String,
}

/// Where its objects are written, and what they are.
pub fn objects(controller: Controller, place: &Place, frame: &Frame) -> (String, Vec<Value>) {
    let name = &frame.instance;
    match controller {
        Controller::ArgoCd => (format!("argocd/{name}.yaml"), vec![application(place, frame)]),
        Controller::Flux => (format!("flux/{name}.yaml"), flux(place, name)),
    }
}

fn application(place: &Place, frame: &Frame) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": { "name": frame.instance, "namespace": "argocd" },
        "spec": {
            "project": "default",
            "source": {
                "repoURL": place.repository,
                "targetRevision": place.branch,
                "path": place.path,
                "directory": { "recurse": true },
            },
            "destination": { "server": "https://kubernetes.default.svc", "namespace": frame.namespace },
            "syncPolicy": {
                "automated": { "prune": true, "selfHeal": true },
                "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"],
            },
        },
    })
}

fn flux(place: &Place, name: &str) -> Vec<Value> {
    let metadata = json!({ "name": name, "namespace": "flux-system" });
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": metadata,
        "spec": { "interval": "1m", "url": place.repository, "ref": { "branch": place.branch } },
    });
    let kustomization = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": metadata,
        "spec": {
            "interval": "1m",
            "path": format!("./{}", place.path),
            "prune": true,
            "wait": true,
            "sourceRef": { "kind": "GitRepository", "name": name },
        },
    });
    vec![source, kustomization]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_follow_the_same_folder() {
        let place = Place {
            repository: "https://git.example.com/ops.git".to_owned(),
            branch: "main".to_owned(),
            path: "environments/prod".to_owned(),
        };
        let frame = Frame {
            project: "shop".to_owned(),
            instance: "shop-prod".to_owned(),
            namespace: "prod".to_owned(),
        };
        let (path, argo) = objects(Controller::ArgoCd, &place, &frame);
        assert_eq!(path, "argocd/shop-prod.yaml");
        assert_eq!(argo[0]["spec"]["source"]["path"], "environments/prod");
        assert_eq!(argo[0]["spec"]["destination"]["namespace"], "prod");
        let (path, flux) = objects(Controller::Flux, &place, &frame);
        assert_eq!((path.as_str(), flux.len()), ("flux/shop-prod.yaml", 2));
        assert_eq!(flux[1]["spec"]["path"], "./environments/prod");
        assert_eq!(flux[1]["spec"]["sourceRef"]["name"], flux[0]["metadata"]["name"]);
    }
}
