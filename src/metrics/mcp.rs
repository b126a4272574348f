//! Metrics of the tools of `/mcp`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Metrics of tool calls. Clones share the values.
#[derive(Clone, Debug)]
pub struct McpMetrics {
    calls: Family<[(&'static str, &'static str); 2], Counter>,
}

impl McpMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self { calls: Family::default() };
        registry.register("mcp_calls", "Calls of the tools of /mcp, by tool and result", new.calls.clone());
        new
    }

    /// Creates the series of a tool, so that a rate includes its first call.
    pub fn register_tool(&self, tool: &'static str) {
        for result in ["answered", "refused"] {
            drop(self.calls.get_or_create(&[("tool", tool), ("result", result)]));
        }
    }

    /// Counts a call that was answered, or refused.
    pub fn called(&self, tool: &'static str, refused: bool) {
        let result = if refused { "refused" } else { "answered" };
        self.calls.get_or_create(&[("tool", tool), ("result", result)]).inc();
    }
}
