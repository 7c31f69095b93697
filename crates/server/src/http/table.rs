//! Every address of the API: who is answered, and what programs are told of it.

use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::{delete, get, post};

use super::route::{About, Content, Needs, Param, Route};
use super::{BUNDLE_BODY, SMALL_BODY};
use super::{alerts, bundles, devices, frames, healthz, live, metrics, people, readings, seed};
use crate::list;
use crate::store::Role::{Admin, Operator, Viewer};

const JSON: &str = "application/json";
const FRAME: Content = (list::ONE, "");
const FRAMES: Content = (list::MANY, "");
const SPAN: &[Param] = &[
    ("from", "time", "The first moment wanted; all if it is left out."),
    ("to", "time", "The first moment no longer wanted."),
    ("limit", "count", "Most samples in the answer, at most 100000; of more the newest are given."),
    ("format", "format", "json or csv; also chosen by `Accept: text/csv`."),
];

/// The API.
pub(crate) static ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/v1/frames",
        needs: Needs::Seal,
        about: Some(About {
            summary: "Take in one sealed frame, or many, each after its length in two bytes, most significant first. \
                      The answer is sealed likewise, after the commit; `kinglet-refused` says what was not taken and why.",
            query: &[],
            body: &[FRAME, FRAMES],
            status: 200,
            answer: &[FRAME, FRAMES],
        }),
        handler: || post(frames::take),
    },
    Route {
        method: Method::POST,
        path: "/v1/join",
        needs: Needs::Seal,
        about: Some(About {
            summary: "Give a device new keys: a join request for a join accept.",
            query: &[],
            body: &[FRAME],
            status: 200,
            answer: &[FRAME],
        }),
        handler: || post(frames::join),
    },
    Route {
        method: Method::POST,
        path: "/v1/lorawan/tts",
        needs: Needs::Seal,
        about: Some(About {
            summary: "Take in an uplink of The Things Stack's webhook, with the secret of its [[lorawan]] section as \
                      the header Kinglet-Secret.",
            query: &[],
            body: &[(JSON, "Uplink")],
            status: 200,
            answer: &[("text/plain", "text")],
        }),
        handler: || post(super::lorawan),
    },
    Route {
        method: Method::GET,
        path: "/healthz",
        needs: Needs::Nothing,
        about: Some(About {
            summary: "`ok` while the process answers.",
            query: &[],
            body: &[],
            status: 200,
            answer: &[("text/plain", "text")],
        }),
        handler: || get(healthz),
    },
    Route {
        method: Method::GET,
        path: "/readyz",
        needs: Needs::Nothing,
        about: Some(About {
            summary: "`ready` while frames can be taken in.",
            query: &[],
            body: &[],
            status: 200,
            answer: &[("text/plain", "text")],
        }),
        handler: || get(metrics::readyz),
    },
    Route {
        method: Method::GET,
        path: "/metrics",
        needs: Needs::Metrics,
        about: Some(About {
            summary: "Counts in Prometheus' text format.",
            query: &[],
            body: &[],
            status: 200,
            answer: &[("text/plain", "text")],
        }),
        handler: || get(metrics::metrics),
    },
    Route {
        method: Method::GET,
        path: "/v1/devices",
        needs: Needs::Role(Viewer),
        about: Some(About {
            summary: "Devices by their short ids; the next page begins `after` the last one.",
            query: &[
                ("after", "short_id", "Only devices with a higher short id."),
                ("limit", "count", "Most devices in the answer, at most 1000; 100 if it is left out."),
            ],
            body: &[],
            status: 200,
            answer: &[(JSON, "Devices")],
        }),
        handler: || get(devices::list),
    },
    Route {
        method: Method::POST,
        path: "/v1/devices",
        needs: Needs::Role(Operator),
        about: Some(About {
            summary: "Register a device. The answer alone ever holds its key.",
            query: &[],
            body: &[(JSON, "NewDevice")],
            status: 201,
            answer: &[(JSON, "AddedDevice")],
        }),
        handler: || post(devices::add).layer(DefaultBodyLimit::max(SMALL_BODY)),
    },
    Route {
        method: Method::GET,
        path: "/v1/devices/{id}",
        needs: Needs::Role(Viewer),
        about: Some(About {
            summary: "One device, with what was counted of it since it was added.",
            query: &[],
            body: &[],
            status: 200,
            answer: &[(JSON, "DeviceInFull")],
        }),
        handler: || get(devices::show),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/devices/{id}",
        needs: Needs::Role(Operator),
        about: Some(About {
            summary: "Revoke a device for good: nothing it says is taken any more, its readings stay.",
            query: &[],
            body: &[],
            status: 204,
            answer: &[],
        }),
        handler: || delete(devices::revoke),
    },
    Route {
        method: Method::GET,
        path: "/v1/devices/{id}/readings",
        needs: Needs::Role(Viewer),
        about: Some(About {
            summary: "Readings of a device, by time.",
            query: SPAN,
            body: &[],
            status: 200,
            answer: &[(JSON, "Readings"), ("text/csv", "text")],
        }),
        handler: || get(readings::list),
    },
    Route {
        method: Method::GET,
        path: "/v1/live",
        needs: Needs::Role(Viewer),
        about: Some(About {
            summary: "Readings as they are stored, as server-sent events: `readings` with a LiveReadings, `missed` with a number.",
            query: &[("device", "device_id", "Only this device.")],
            body: &[],
            status: 200,
            answer: &[("text/event-stream", "text")],
        }),
        handler: || get(live::stream),
    },
    Route {
        method: Method::GET,
        path: "/v1/alerts",
        needs: Needs::Role(Viewer),
        about: Some(About {
            summary: "What is or was wrong, the newest first; the next page is `before` the last one.",
            query: &[
                ("state", "alert_state", "raised for what is wrong now; all if it is left out."),
                ("before", "count", "Only alerts with a lower number."),
                ("limit", "count", "Most alerts in the answer, at most 1000; 100 if it is left out."),
            ],
            body: &[],
            status: 200,
            answer: &[(JSON, "Alerts")],
        }),
        handler: || get(alerts::list),
    },
    Route {
        method: Method::GET,
        path: "/v1/bundles",
        needs: Needs::Role(Viewer),
        about: Some(About {
            summary: "All bundles, the newest first.",
            query: &[],
            body: &[],
            status: 200,
            answer: &[(JSON, "Bundles")],
        }),
        handler: || get(bundles::list),
    },
    Route {
        method: Method::POST,
        path: "/v1/bundles",
        needs: Needs::Role(Operator),
        about: Some(About {
            summary: "Add a bundle; 200 instead of 201 if it was there already.",
            query: &[],
            body: &[("application/octet-stream", "")],
            status: 201,
            answer: &[(JSON, "AddedBundle")],
        }),
        handler: || post(bundles::add).layer(DefaultBodyLimit::max(BUNDLE_BODY)),
    },
    Route {
        method: Method::GET,
        path: "/v1/bundles/{fingerprint}",
        // Whoever made the bundle has signed it: anybody may have it.
        needs: Needs::Seal,
        about: Some(About {
            summary: "A piece of the model of a bundle that is offered to devices.",
            query: &[
                ("from", "count", "The first byte wanted; 0 if it is left out."),
                ("len", "count", "Most bytes in the answer, at most 65536."),
            ],
            body: &[],
            status: 200,
            answer: &[("application/octet-stream", "")],
        }),
        handler: || get(bundles::piece),
    },
    Route {
        method: Method::GET,
        path: "/v1/seed",
        needs: Needs::Role(Viewer),
        about: Some(About {
            summary: "Names under which the seed's own mode has kept readings.",
            query: &[],
            body: &[],
            status: 200,
            answer: &[(JSON, "SeedSeries")],
        }),
        handler: || get(seed::list),
    },
    Route {
        method: Method::GET,
        path: "/v1/seed/{name}/readings",
        needs: Needs::Role(Viewer),
        about: Some(About {
            summary: "Readings of the seed's own mode, by time.",
            query: SPAN,
            body: &[],
            status: 200,
            answer: &[(JSON, "SeedReadings"), ("text/csv", "text")],
        }),
        handler: || get(seed::readings),
    },
    Route {
        method: Method::GET,
        path: "/v1/users",
        needs: Needs::Role(Admin),
        about: Some(About {
            summary: "Users, by name.",
            query: &[],
            body: &[],
            status: 200,
            answer: &[(JSON, "Users")],
        }),
        handler: || get(people::users),
    },
    Route {
        method: Method::POST,
        path: "/v1/users",
        needs: Needs::Role(Admin),
        about: Some(About {
            summary: "Add a user.",
            query: &[],
            body: &[(JSON, "NewUser")],
            status: 201,
            answer: &[(JSON, "User")],
        }),
        handler: || post(people::add_user).layer(DefaultBodyLimit::max(SMALL_BODY)),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/users/{name}",
        needs: Needs::Role(Admin),
        about: Some(About {
            summary: "Remove a user, who is logged out everywhere at once.",
            query: &[],
            body: &[],
            status: 204,
            answer: &[],
        }),
        handler: || delete(people::remove_user),
    },
    Route {
        method: Method::GET,
        path: "/v1/tokens",
        needs: Needs::Role(Admin),
        about: Some(About {
            summary: "Tokens of programs, by name; what they bring is not shown.",
            query: &[],
            body: &[],
            status: 200,
            answer: &[(JSON, "Tokens")],
        }),
        handler: || get(people::tokens),
    },
    Route {
        method: Method::POST,
        path: "/v1/tokens",
        needs: Needs::Role(Admin),
        about: Some(About {
            summary: "Make a token for a program. The answer alone ever holds it.",
            query: &[],
            body: &[(JSON, "NewToken")],
            status: 201,
            answer: &[(JSON, "AddedToken")],
        }),
        handler: || post(people::add_token).layer(DefaultBodyLimit::max(SMALL_BODY)),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/tokens/{name}",
        needs: Needs::Role(Admin),
        about: Some(About {
            summary: "Revoke a token at once.",
            query: &[],
            body: &[],
            status: 204,
            answer: &[],
        }),
        handler: || delete(people::remove_token),
    },
];
