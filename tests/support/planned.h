// A model built in code with its plan.
#pragma once

#include <string>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/plan/plan.h"

namespace ptq::testing {

struct Planned {
  explicit Planned(const GraphBuilder& builder, const PlanOptions& options = {})
      : model(builder.Build()),
        graph(model),
        execution(graph),
        plan(MakePlan(execution, options)) {}

  /// The linear with this name; a failure when there is none.
  [[nodiscard]] const Linear& Find(const std::string& name) const {
    for (const Linear& linear : plan.linears) {
      if (linear.name == name) return linear;
    }
    ADD_FAILURE() << "no linear is named '" << name << "'";
    return plan.linears.front();
  }
  /// The site of the activation with this name; a failure when there is none.
  [[nodiscard]] const Site& SiteOf(const std::string& activation) const {
    for (const Site& site : plan.sites) {
      if (graph.value(site.value).name == activation) return site;
    }
    ADD_FAILURE() << "no site at '" << activation << "'";
    return plan.sites.front();
  }

  Model model;
  Graph graph;
  ExecutionPlan execution;
  Plan plan;
};

}  // namespace ptq::testing
