// SPDX-License-Identifier: MIT
#include "results.hpp"

#include <loglinear/checkpoint/detail/files.hpp>
#include <span>
#include <sstream>

namespace recall {

RunFiles::RunFiles(const Options& options, std::int64_t seed)
    : name(options.configuration.name() + "-s" + std::to_string(seed)),
      results(options.out + "/" + name + ".csv"),
      checkpoint(options.out + "/" + name + ".pt") {}

void write_results(const std::string& path, const Configuration& c, std::int64_t seed,
                   const Cost& cost, const std::vector<learning::Score>& scores) {
  std::ostringstream s;
  s.precision(6);
  s << "task,mixer,weighting,levels,random_count,d_model,heads,key_size,expand,vocabulary,"
       "length,first_length,items,batch,steps,"
       "learning_rate,seed,parameters,test_length,test_items,group,labels,loss,accuracy,seconds\n";
  for (const learning::Score& score : scores) {
    s << c.task << ',' << c.mixer << ',' << c.weighting << ',' << c.levels << ',' << c.random_count
      << ',' << c.d_model << ',' << c.heads << ',' << c.key_size << ',' << c.expand << ','
      << c.vocabulary << ',' << c.length << ',' << c.first_length << ',';
    for (std::size_t i = 0; i < c.items.size(); ++i) s << (i > 0 ? " " : "") << c.items[i];
    s << ',' << c.batch << ',' << c.steps << ',' << c.learning_rate << ',' << seed << ','
      << cost.parameters << ',' << score.setting.length << ',' << score.setting.items << ','
      << score.group << ',' << score.labels << ',' << score.loss << ',' << score.accuracy << ','
      << cost.seconds << '\n';
  }
  const std::string text = s.str();
  loglinear::detail::Replacement(path).write({std::as_bytes(std::span(text.data(), text.size()))});
}

}  // namespace recall
