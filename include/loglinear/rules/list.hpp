// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_LIST_HPP
#define LOGLINEAR_RULES_LIST_HPP

/// \file
/// All inner rules, in one list. For a new rule add its file in `rules/`, its include and its line
/// here. Modes and their texts, the run-time factory, the loops of the tests, the benchmark and the
/// table of all rules are made from the list and from what each rule says about itself
/// (hyperparameters.hpp). The order is that of the alternatives of `InnerMode`.

#include "loglinear/rules/delta_net.hpp"
#include "loglinear/rules/delta_product.hpp"
#include "loglinear/rules/gated_delta_net.hpp"
#include "loglinear/rules/gated_delta_product.hpp"
#include "loglinear/rules/gla.hpp"
#include "loglinear/rules/gla_vector.hpp"
#include "loglinear/rules/hawk.hpp"
#include "loglinear/rules/hgrn2.hpp"
#include "loglinear/rules/kda.hpp"
#include "loglinear/rules/mamba2.hpp"
#include "loglinear/rules/mlstm.hpp"
#include "loglinear/rules/retnet.hpp"
#include "loglinear/rules/rg_lru.hpp"
#include "loglinear/rules/rwkv.hpp"
#include "loglinear/rules/rwkv7.hpp"
#include "loglinear/rules/tied_hgrn2.hpp"
#include "loglinear/rules/type_list.hpp"

namespace loglinear {

/// Every rule, as it is chosen at run time.
using Rules = detail::TypeList<  //
    RetNet,                      //
    Hawk,                        //
    GLA,                         //
    GLAVector,                   //
    DeltaNet,                    //
    GatedDeltaNet,               //
    RWKV,                        //
    MLSTM,                       //
    DeltaProductMode,            //
    RWKV7,                       //
    HGRN2,                       //
    Mamba2,                      //
    KDA,                         //
    RGLRU,                       //
    TiedHGRN2,                   //
    GatedDeltaProductMode>;

namespace detail {

/// The rules that a mode stands for: itself if it is a rule, else those that it lists.
template <class Mode>
struct RulesOf {
  using Type = TypeList<Mode>;
};
template <class Mode>
requires requires {
  typename Mode::Rules;
}
struct RulesOf<Mode> {
  using Type = typename Mode::Rules;
};
template <class... Modes>
[[nodiscard]] auto rules_of_all(TypeList<Modes...>)
    -> decltype((typename RulesOf<Modes>::Type{} + ...));

}  // namespace detail

/// The same as types of rules: `DeltaProduct<1>` to `DeltaProduct<4>` for `DeltaProductMode`,
/// and the same of `GatedDeltaProductMode`.
using RuleTypes = decltype(detail::rules_of_all(Rules{}));

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_LIST_HPP
