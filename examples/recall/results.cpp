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
  const learning::MixerShape& m = c.shape.sizes;
  const learning::TrainingOptions& t = c.training;
  std::ostringstream s;
  s.precision(6);
  s << "task,mixer,weighting,levels,memory,random_count,d_model,heads,key_size,expand,vocabulary,"
       "length,first_length,items,batch,steps,"
       "learning_rate,seed,parameters,test_length,test_items,group,labels,loss,accuracy,seconds\n";
  for (const learning::Score& score : scores) {
    s << c.task << ',' << c.shape.mixer << ',' << c.shape.weighting << ',' << m.levels << ','
      << m.memory << ',' << t.random_count << ',' << m.d_model << ',' << m.heads << ',' << m.d_k
      << ',' << m.values() / m.d_model << ',' << c.shape.vocabulary << ',' << t.length << ','
      << t.first_length << ',';
    for (std::size_t i = 0; i < t.items.size(); ++i) s << (i > 0 ? " " : "") << t.items[i];
    s << ',' << t.batch << ',' << t.steps << ',' << t.learning_rate << ',' << seed << ','
      << cost.parameters << ',' << score.setting.length << ',' << score.setting.items << ','
      << score.group << ',' << score.labels << ',' << score.loss << ',' << score.accuracy << ','
      << cost.seconds << '\n';
  }
  const std::string text = s.str();
  loglinear::detail::Replacement(path).write({std::as_bytes(std::span(text.data(), text.size()))});
}

}  // namespace recall
