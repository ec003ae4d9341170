//! Boards and panels as Grafana's classic JSON, which old and new Grafana import.
//!
//! Why it exists: what every board has in common (its variables, its manners towards the linter of dashboards) is
//! written once. What it refuses to know: what is shown.

use serde_json::{Value, json};

/// The oldest schema that is written: Grafana 9 and later read it.
const SCHEMA: u32 = 37;
/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;
/// Rows of a panel.
const HEIGHT: u32 = 8;

/// A board.
pub(super) struct Board {
    uid: &'static str,
    title: &'static str,
    about: &'static str,
    panels: Vec<Panel>,
}

/// A panel.
pub(super) struct Panel {
    kind: Kind,
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    width: u32,
    queries: Vec<(String, &'static str)>,
}

/// How a panel shows its numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Lines over time.
    Lines,
    /// Areas on top of each other, over time.
    Stack,
    /// The latest number, large.
    Number,
    /// The latest numbers as bars.
    Bars,
    /// The latest numbers of every query, a row a series.
    Table,
}

impl Panel {
    /// Lines over time.
    pub(super) fn lines(title: &'static str, unit: &'static str, about: &'static str) -> Self {
        Self { kind: Kind::Lines, title, about, unit, width: 8, queries: Vec::new() }
    }

    /// Areas on top of each other.
    pub(super) fn stack(title: &'static str, unit: &'static str, about: &'static str) -> Self {
        Self { kind: Kind::Stack, ..Self::lines(title, unit, about) }
    }

    /// One large number.
    pub(super) fn number(title: &'static str, unit: &'static str, about: &'static str) -> Self {
        Self { kind: Kind::Number, width: 4, ..Self::lines(title, unit, about) }
    }

    /// Bars of the latest numbers.
    pub(super) fn bars(title: &'static str, unit: &'static str, about: &'static str) -> Self {
        Self { kind: Kind::Bars, ..Self::lines(title, unit, about) }
    }

    /// A table of the latest numbers.
    pub(super) fn table(title: &'static str, unit: &'static str, about: &'static str) -> Self {
        Self { kind: Kind::Table, width: 16, ..Self::lines(title, unit, about) }
    }

    /// Asks this, and names each series so (`{{model}}`).
    pub(super) fn asks(mut self, query: String, legend: &'static str) -> Self {
        self.queries.push((query, legend));
        self
    }

    fn json(&self, id: usize, x: u32, y: u32) -> Value {
        let over_time = matches!(self.kind, Kind::Lines | Kind::Stack);
        let targets: Vec<Value> = ('A'..='Z')
            .zip(&self.queries)
            .map(|(letter, (query, legend))| {
                json!({
                    "refId": letter.to_string(),
                    "datasource": { "type": "prometheus", "uid": "${datasource}" },
                    "expr": query,
                    "legendFormat": legend,
                    "instant": !over_time,
                    "range": over_time,
                    "format": if self.kind == Kind::Table { "table" } else { "time_series" },
                })
            })
            .collect();
        let mut panel = json!({
            "id": id,
            "type": self.kind.name(),
            "title": self.title,
            "description": self.about,
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "gridPos": { "h": HEIGHT, "w": self.width, "x": x, "y": y },
            "targets": targets,
            "fieldConfig": { "defaults": { "unit": self.unit, "min": 0, "custom": self.kind.custom() }, "overrides": [] },
            "options": self.kind.options(),
        });
        if let (Kind::Table, Some(panel)) = (self.kind, panel.as_object_mut()) {
            let merge = json!([
                { "id": "merge", "options": {} },
                { "id": "organize", "options": { "excludeByName": { "Time": true } } },
            ]);
            panel.insert("transformations".to_owned(), merge);
        }
        panel
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Lines | Self::Stack => "timeseries",
            Self::Number => "stat",
            Self::Bars => "bargauge",
            Self::Table => "table",
        }
    }

    fn custom(self) -> Value {
        match self {
            Self::Lines => json!({ "drawStyle": "line", "fillOpacity": 5, "showPoints": "never" }),
            Self::Stack => json!({
                "drawStyle": "line", "fillOpacity": 40, "showPoints": "never",
                "stacking": { "group": "A", "mode": "normal" },
            }),
            Self::Number | Self::Bars | Self::Table => json!({}),
        }
    }

    fn options(self) -> Value {
        let reduced = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self {
            Self::Lines | Self::Stack => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Self::Number => json!({ "reduceOptions": reduced, "graphMode": "none", "colorMode": "value" }),
            Self::Bars => json!({ "reduceOptions": reduced, "orientation": "horizontal", "displayMode": "basic" }),
            Self::Table => json!({ "showHeader": true }),
        }
    }
}

impl Board {
    /// A board of these panels, in reading order.
    pub(super) fn new(uid: &'static str, title: &'static str, about: &'static str, panels: Vec<Panel>) -> Self {
        Self { uid, title, about, panels }
    }

    /// Its id and the name of its file.
    pub(super) fn uid(&self) -> &'static str {
        self.uid
    }

    /// Its file.
    pub(super) fn text(&self) -> String {
        // A tree of strings and numbers always has a text.
        let mut text = serde_json::to_string_pretty(&self.json()).unwrap_or_default();
        text.push('\n');
        text
    }

    fn json(&self) -> Value {
        let (mut x, mut y) = (0, 0);
        let mut panels = Vec::new();
        for (at, panel) in self.panels.iter().enumerate() {
            if x + panel.width > COLUMNS {
                (x, y) = (0, y + HEIGHT);
            }
            panels.push(panel.json(at + 1, x, y));
            x += panel.width;
        }
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["tollgate"],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-6h", "to": "now" },
            "timezone": "",
            "links": [{
                "type": "dashboards", "tags": ["tollgate"], "title": "Tollgate", "asDropdown": true,
                "includeVars": true, "keepTime": true,
            }],
            "templating": { "list": variables() },
            "annotations": { "list": [reloads()] },
            "panels": panels,
        })
    }
}

/// The data source, the jobs and the instances that a board shows.
fn variables() -> Value {
    let of = |name: &str, label: &str, query: String| {
        json!({
            "type": "query", "name": name, "label": label,
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "query": { "query": query, "refId": name }, "definition": query,
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
            "current": { "selected": true, "text": "All", "value": "$__all" },
        })
    };
    let build = crate::telemetry::metrics::Metric::BuildInfo.spec().name;
    json!([
        { "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {} },
        of("job", "Job", format!("label_values({build}, job)")),
        of("instance", "Instance", format!("label_values({build}{{job=~\"$job\"}}, instance)")),
    ])
}

/// A line at every change of policy.
fn reloads() -> Value {
    let reloads = crate::telemetry::metrics::Metric::PolicyReloads.spec().name;
    json!({
        "name": "Policy reloads", "enable": true, "iconColor": "blue",
        "datasource": { "type": "prometheus", "uid": "${datasource}" },
        "expr": format!("sum by (instance, result) (increase({reloads}{{job=~\"$job\",instance=~\"$instance\"}}[1m])) > 0"),
        "titleFormat": "policy reload", "textFormat": "{{instance}}: {{result}}",
    })
}
