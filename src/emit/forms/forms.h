// The forms by name, each defined in its own file.
#pragma once

#include "ptq/emit/filter_form.h"
#include "ptq/emit/linear_form.h"
#include "ptq/emit/table_form.h"

namespace ptq {

#define PTQ_LINEAR_FORM(name) [[nodiscard]] const LinearForm& name();
#define PTQ_TABLE_FORM(name) [[nodiscard]] const TableForm& name();
#define PTQ_FILTER_FORM(name) [[nodiscard]] const FilterForm& name();
#include "forms.inc"

}  // namespace ptq
