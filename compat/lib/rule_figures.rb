# What the parts that show JOB.* ask and compare, whatever the job library. It needs `rules`, of JobRules, and `figures`.

require_relative "deeds"
require_relative "job_rules"

module RuleFigures
  # The rule by which this project began.
  BAD_JOBS = "CLASS ImportJob ARG customer_id=123"
  # What it matches, and what is nearly that and has to run. A number and its text are equal.
  BAD = [["ImportJob", {customer_id: 123}], ["ImportJob", {customer_id: "123"}]].freeze
  NEARLY_BAD = [["ImportJob", {customer_id: 124}], ["ExportJob", {customer_id: 123}], ["ImportJob", {customer_id: 1234}], ["ImportJob", {}],
                ["ImportJob", {customer: "123"}]].freeze

  private

  # Returns what went in and out of all queues, and how many jobs were begun, by their own word.
  def ledger
    rules.ledger("in", "popped", "dropped", "pending", "quarantined", "off") << Deeds.count("begun")
  end

  # Checks that what went in has come out again and was begun, or was dropped by a rule.
  def check_ledger(before)
    grown = ledger.zip(before).map { |later, earlier| later - earlier }
    into, popped, dropped, *rest, begun = grown
    figures.equal("JOB.LEDGER: popped, as the jobs count it", popped, begun)
    figures.equal("JOB.LEDGER: in = popped + dropped; pending, quarantined, off", [into, *rest], [popped + dropped, 0, 0, 0])
  end

  def begun(part)
    Deeds.ids("begun", part)
  end

  # Returns how often these jobs were begun, in all.
  def times_begun(part, ids)
    begun(part).tally.values_at(*ids).compact.sum
  end

  # Checks that these jobs, and no others, have finished in a part, each of them once.
  def carried_out(part, ids, what: "jobs finished")
    figures.reaches("#{what}, each once", ids.size) { Deeds.ids("finished", part).size }
    figures.holds("  and they are the jobs that were pushed", Deeds.ids("finished", part).sort == ids.sort)
  end

  # Makes a blackhole, whose figures are asked for from then on, and returns the reply.
  def add_blackhole(name, words = BAD_JOBS)
    @rule = rules.fresh(name)
    rules.ask("JOB.BLACKHOLE ADD #{@rule} #{words}")
  end

  # Ends the blackhole and returns the reply; what it has taken stays where it is.
  def end_blackhole
    rules.ask("JOB.BLACKHOLE DEL #{@rule}")
  end

  # Begins to put back what the blackhole has taken, and returns the reply.
  def restore
    rules.ask("JOB.BLACKHOLE RESTORE #{@rule}")
  end

  def held_back(*fields)
    rules.figures_of(@rule, *fields)
  end

  # Returns kinds and names of the rules in force.
  def rules_in_force
    rules.say("JOB.RULES LIST").map { |rule| rule.each_slice(2).to_h.values_at("kind", "name") }
  end

  # Returns how many jobs of one tenant were at work at the same time, at the most.
  def most_at_once(part, tenant_of)
    at_work = Hash.new(0)
    File.foreach(Deeds.path, chomp: true).filter_map do |line|
      deed, of, id = line.split("\t")
      next unless of == part

      tenant = tenant_of.fetch(id)
      at_work[tenant] += deed == "begun" ? 1 : -1
      at_work[tenant]
    end.max
  end

  # Returns how many jobs a limit counts as running.
  def running(limit)
    rules.ask("JOB.LIMIT GET #{limit}").fetch("keys").sum { |key| key.each_slice(2).to_h.fetch("running") }
  end
end
