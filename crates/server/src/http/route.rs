//! What a route is: where, for whom, what it is called, and who answers. The router, the guard before each route and the
//! description in OpenAPI are all made of the same rows, so that none of them can know a route the others do not.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;

use super::guard;
use crate::core::Core;
use crate::store::Role;

/// One method of one address.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) needs: Needs,
    /// For programs; `None` for what browsers show and fetch.
    pub(crate) about: Option<About>,
    pub(crate) handler: fn() -> MethodRouter<Arc<Core>>,
}

/// Who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Whoever knows a device's key: what comes is sealed.
    Seal,
    /// Anybody, under whatever name they reach the server.
    Nothing,
    /// Any browser that asks under a name of the server.
    OwnName,
    /// The same, and somebody of this role at least. Browsers are shown the way to the login.
    Page(Role),
    /// The same for programs, which are told.
    Role(Role),
    /// As a viewer, or anybody if the configuration says so.
    Metrics,
}

/// What programs are told of a route.
pub(crate) struct About {
    /// One line.
    pub(crate) summary: &'static str,
    /// Parameters in the query.
    pub(crate) query: &'static [Param],
    /// What is sent.
    pub(crate) body: &'static [Content],
    /// What comes back when all is well.
    pub(crate) status: u16,
    pub(crate) answer: &'static [Content],
}

/// A parameter in the query: its name, the name of its schema, what it means.
pub(crate) type Param = (&'static str, &'static str, &'static str);
/// A content type, and the name of the schema of what is in it; an empty one for bytes.
pub(crate) type Content = (&'static str, &'static str);

impl Route {
    /// For browsers: no part of the API.
    pub(crate) const fn of(
        method: Method,
        path: &'static str,
        needs: Needs,
        handler: fn() -> MethodRouter<Arc<Core>>,
    ) -> Self {
        Self { method, path, needs, about: None, handler }
    }

    /// The same, to be looked at.
    pub(crate) const fn page(
        path: &'static str,
        needs: Needs,
        handler: fn() -> MethodRouter<Arc<Core>>,
    ) -> Self {
        Self::of(Method::GET, path, needs, handler)
    }
}

/// Adds routes, each behind its guard.
pub(super) fn add<'a>(
    router: Router<Arc<Core>>,
    routes: impl Iterator<Item = &'static Route> + 'a,
    core: &Arc<Core>,
) -> Router<Arc<Core>> {
    routes.fold(router, |router, route| {
        let handler = (route.handler)();
        router.route(
            route.path,
            match route.needs {
                Needs::Seal | Needs::Nothing => handler,
                _ => handler.layer(from_fn_with_state((Arc::clone(core), route), guard::admit)),
            },
        )
    })
}
