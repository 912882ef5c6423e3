"""The report of a fleet's plan: its power under the caps, prices, events, batteries, and why it is what it is."""

from aggregator.reports.plan.page import plan_page, plan_svg, render_plan

__all__ = ["plan_page", "plan_svg", "render_plan"]
